//! How exchanges say a price: one message each, with the digits as they are given, and with a number where the
//! exchange has one.

/// A trade as Binance's combined stream tells it.
pub fn binance_trade(code: &str, price: &str, id: u64) -> String {
    let (name, at) = (code.to_lowercase(), millis());
    format!(
        r#"{{"stream":"{name}@trade","data":{{"e":"trade","E":{at},"s":"{code}","t":{id},"p":"{price}","q":"0.00140000","T":{at},"m":true,"M":true}}}}"#
    )
}

/// A day's figures as Binance's REST tells them.
pub fn binance_ticker(code: &str, price: &str, id: u64) -> String {
    let at = millis();
    format!(
        r#"{{"symbol":"{code}","openPrice":"1.00","lastPrice":"{price}","volume":"1.0","openTime":1,"closeTime":{at},"firstId":1,"lastId":{id},"count":1}}"#
    )
}

/// An index value as the CoinDesk Data API tells it; `digits` stand there as a JSON number.
pub fn coindesk_index(instrument: &str, digits: &str, seq: u64) -> String {
    let seconds = millis() / 1000;
    format!(
        r#"{{"Data":{{"{instrument}":{{"TYPE":"266","MARKET":"cadli","INSTRUMENT":"{instrument}","CCSEQ":{seq},"VALUE":{digits},"VALUE_FLAG":"UP","VALUE_LAST_UPDATE_TS":{seconds},"VALUE_LAST_UPDATE_TS_NS":843000000}}}},"Err":{{}}}}"#
    )
}

fn millis() -> u128 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |time| time.as_millis())
}

/// A ticker as Coinbase's stream tells it.
pub fn coinbase_ticker(price: &str, seq: u64) -> String {
    let at = rfc3339();
    format!(
        r#"{{"type":"ticker","sequence":{seq},"product_id":"BTC-USD","price":"{price}","open_24h":"1.00","best_bid":"64250.09","best_ask":"64250.11","side":"buy","time":"{at}","trade_id":1,"last_size":"0.01"}}"#
    )
}

/// A product's ticker as Coinbase's REST tells it.
pub fn coinbase_product(price: &str, seq: u64) -> String {
    let at = rfc3339();
    format!(
        r#"{{"ask":"64250.11","bid":"64250.09","volume":"1.0","trade_id":{seq},"price":"{price}","size":"0.01","time":"{at}"}}"#
    )
}

/// A ticker as Kraken's stream tells it; `digits` stand there as a JSON number.
pub fn kraken_ticker(digits: &str, _: u64) -> String {
    let at = rfc3339();
    format!(
        r#"{{"channel":"ticker","type":"update","data":[{{"symbol":"BTC/USD","bid":64250.09,"bid_qty":2.5,"ask":64250.11,"ask_qty":3.2,"last":{digits},"volume":1.0,"timestamp":"{at}"}}]}}"#
    )
}

/// A ticker as Kraken's REST tells it, under a name of its own.
pub fn kraken_result(price: &str, _: u64) -> String {
    format!(
        r#"{{"error":[],"result":{{"XXBTZUSD":{{"a":["64250.11","1","1.000"],"b":["64250.09","1","1.000"],"c":["{price}","0.01"],"t":[1,2],"o":"1.00"}}}}}}"#
    )
}

/// A trade as Bitstamp's stream tells it.
pub fn bitstamp_trade(price: &str, id: u64) -> String {
    let at = millis() * 1000;
    format!(
        r#"{{"channel":"live_trades_btcusd","event":"trade","data":{{"id":{id},"amount":0.01,"amount_str":"0.01000000","price":64250.100000000003,"price_str":"{price}","type":0,"microtimestamp":"{at}"}}}}"#
    )
}

/// A ticker as Bitstamp's REST tells it.
pub fn bitstamp_ticker(price: &str, _: u64) -> String {
    let at = millis() / 1000;
    format!(
        r#"{{"timestamp":"{at}","open":"1.00","high":"1.00","low":"1.00","last":"{price}","volume":"1.0","bid":"64250.09","ask":"64250.11"}}"#
    )
}

/// What some server may answer.
pub fn some_json(digits: &str, _: u64) -> String {
    format!(r#"{{"data":[{{"BTC":{{"USD":{digits}}}}}]}}"#)
}

fn rfc3339() -> String {
    jiff::Timestamp::now().to_string()
}
