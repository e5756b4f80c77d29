//! `btc-cluster price`: prints the price of the running daemon; without a daemon, asks the sources as it would.

use super::arguments::Price;
use super::exit::Exit;
use super::out::{self, complain};
use super::{check, ctl};
use crate::config::{Faults, Loaded, Source, control_socket, load};
use crate::feeder::{self, Clock, Plan, Retries};
use crate::model::{Quote, Symbol};
use crate::os::clock;
use crate::protocol::client::QuoteText;
use crate::protocol::cluster::FromFeeder;
use crate::providers::{Http, Proxies};
use serde_json::{Value, json};
use std::io::ErrorKind::{ConnectionRefused, NotFound, PermissionDenied};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};

pub(super) fn run(price: &Price, source: Result<Source, Faults>) -> ExitCode {
    let source = match source {
        Ok(source) => source,
        Err(faults) => return check::refuse(&faults),
    };
    let socket = control_socket(&source);
    let question = json!({ "command": "price", "symbol": price.symbol }).to_string();
    let answer = match ctl::ask(&socket, &question) {
        Ok(answer) => answer,
        Err(error) if matches!(error.kind(), NotFound | ConnectionRefused | PermissionDenied) => {
            complain(&format!("{}: {error}; asking the sources", socket.display()));
            match load(&source).map(|loaded| ask_sources(price, loaded)) {
                Ok(Ok(answer)) => answer,
                Ok(Err(code)) => return code,
                Err(faults) => {
                    check::refuse(&faults);
                    return ExitCode::from(Exit::BadConfiguration);
                }
            }
        }
        Err(error) => {
            complain(&format!("{}: {error}", socket.display()));
            return ExitCode::from(Exit::Failed);
        }
    };
    show(price, &answer)
}

fn show(price: &Price, answer: &Value) -> ExitCode {
    if let Some(error) = answer["error"].as_str() {
        complain(error);
        return ExitCode::from(Exit::Failed);
    }
    let quote = &answer["price"];
    let text = match price.json {
        true => format!("{quote}\n"),
        false if quote.is_object() => words(quote) + "\n",
        false => String::new(),
    };
    if quote.is_object() {
        return out::end(&text, Exit::Done);
    }
    complain("there is no price now; `btc-cluster probe` says what is in the way");
    out::end(&text, Exit::Failed)
}

/// `BTC-USD 64250.12 from binance (BTC-USDT), 0.2 s old`
fn words(quote: &Value) -> String {
    let text = |key: &str| quote[key].as_str().unwrap_or_default();
    let pair = if text("pair") == text("symbol") { String::new() } else { format!(" ({})", text("pair")) };
    let tenths = quote["age_ms"].as_u64().unwrap_or(0) / 100;
    let stale = if quote["stale"] == Value::Bool(true) { ", STALE" } else { "" };
    let made_up = if quote["mock"] == Value::Bool(true) { ", MADE UP" } else { "" };
    format!(
        "{} {} from {}{pair}, {}.{} s old{stale}{made_up}",
        text("symbol"),
        text("price"),
        text("source"),
        tenths / 10,
        tenths % 10
    )
}

/// Runs a feeder until its first price.
fn ask_sources(price: &Price, loaded: Loaded) -> Result<Value, ExitCode> {
    let config = loaded.config;
    let symbol = match &price.symbol {
        None => config.price.symbol.clone(),
        Some(name) => Symbol::new(name)
            .ok()
            .filter(|symbol| config.price.symbols.contains(symbol))
            .ok_or_else(|| {
                complain(&format!("price.symbols does not have {name}"));
                ExitCode::from(Exit::Usage)
            })?,
    };
    let rules = config.price.rules();
    let plan = Plan {
        price: config.price,
        providers: config.providers,
        real_before: false,
        retries: Retries::default(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| {
        complain(&error.to_string());
        ExitCode::from(Exit::Failed)
    })?;
    let quote = runtime.block_on(first(plan, symbol, Duration::from_secs(price.timeout)));
    let object = quote.as_ref().map(|quote| QuoteText::new(quote).object(quote, &rules, clock::boot()));
    let object = object.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or(Value::Null);
    Ok(json!({ "price": object }))
}

async fn first(plan: Plan, symbol: Symbol, patience: Duration) -> Option<Quote> {
    let (_plans, watching) = watch::channel(Arc::new(plan));
    let (sender, mut quotes) = mpsc::channel(1);
    let out = move |said| {
        if let FromFeeder::Tick(quote) = said
            && quote.symbol == symbol
        {
            // The first quote is enough.
            let _ = sender.try_send(quote);
        }
    };
    let feeding = feeder::run(watching, Clock::system(), Arc::new(Http::new(Proxies::Environment)), out);
    tokio::select! {
        () = feeding => None,
        quote = quotes.recv() => quote,
        () = tokio::time::sleep(patience) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_price_in_words() {
        let quote = |pair: &str, stale: bool| {
            json!({ "symbol": "BTC-USD", "pair": pair, "price": "64250.10", "source": "binance",
                    "age_ms": 1270, "stale": stale })
        };
        let plain = words(&quote("BTC-USD", false));
        assert_eq!(plain, "BTC-USD 64250.10 from binance, 1.2 s old");
        let mut made_up = quote("BTC-USDT", true);
        made_up["mock"] = json!(true);
        let all = words(&made_up);
        assert_eq!(all, "BTC-USD 64250.10 from binance (BTC-USDT), 1.2 s old, STALE, MADE UP");
    }
}
