//! The answer about price sources. The feeder sends moments; ages are computed at the moment of the question.

use crate::config::PriceSection;
use crate::model::Boot;
use serde_json::{Map, Value, json};

/// The answer: the default symbol, why its sources do not agree, and the rows of the feeder's `table`.
pub(super) fn json(config: &PriceSection, refused: Option<&String>, table: &str, now: Boot) -> Value {
    json!({
        "symbol": config.symbol,
        "policy": config.policy,
        "refused": refused,
        "sources": rows(table, now),
    })
}

/// The feeder's rows with an age instead of a moment. Other fields pass unchanged.
fn rows(table: &str, now: Boot) -> Vec<Value> {
    let rows: Vec<Map<String, Value>> = serde_json::from_str(table).unwrap_or_default();
    rows.into_iter()
        .map(|mut row| {
            let received = row.remove("received").as_ref().and_then(Value::as_u64);
            let lag = row.remove("lag_ms").as_ref().and_then(Value::as_u64).unwrap_or(0);
            let retry = row.remove("retry_at").as_ref().and_then(Value::as_u64);
            let retry = retry.map(|at| Boot(at).since(now).as_millis()).filter(|ms| *ms > 0);
            row.insert("retry_in_ms".to_owned(), retry.and_then(|ms| u64::try_from(ms).ok()).into());
            let age = received.map(|at| now.since(Boot(at)).as_millis() + u128::from(lag));
            row.insert("age_ms".to_owned(), age.and_then(|ms| u64::try_from(ms).ok()).into());
            Value::Object(row)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_is_of_the_moment_of_asking() {
        let table = r#"[{"name":"a","received":1000000000,"lag_ms":5,"price":"1.50","budget":{"used":1},
                         "retry_at":3500000000},
                        {"name":"b","received":null,"lag_ms":0,"retry_at":2000000000}]"#;
        let expected = json!([
            {"name": "a", "price": "1.50", "budget": {"used": 1}, "age_ms": 2005, "retry_in_ms": 500},
            {"name": "b", "age_ms": null, "retry_in_ms": null},
        ]);
        assert_eq!(Value::from(rows(table, Boot(3_000_000_000))), expected);
        assert_eq!(rows("", Boot(0)), Vec::<Value>::new(), "the feeder has said nothing yet");
    }
}
