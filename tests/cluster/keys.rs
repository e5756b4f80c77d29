//! What the master knows of tokens: which are revoked.

use crate::harness::{eventually, kill, upgrade};
use crate::tokens::{bearing, tab, token, with_tokens};
use rustix::process::Signal;
use serde_json::json;
use std::time::{Duration, Instant};

#[tokio::test]
async fn revoked_tokens_end_their_sessions_and_are_refused_by_the_next_master_and_workers() {
    let cluster = with_tokens("").workers(2).start().await;
    let revoked = token(&cluster, &["--user", "ann"]).await;
    let other = token(&cluster, &["--user", "bob"]).await;
    let mut bob = tab(&cluster, &other, "channels=none").await;
    let mut tabs = vec![];
    for _ in 0..4 {
        tabs.push(tab(&cluster, &revoked, "channels=none").await);
    }
    let away = tab(&cluster, &revoked, "channels=none").await;
    let resume = away.welcome["resume"].as_str().unwrap().to_owned();
    drop(away);
    let began = Instant::now();
    assert_eq!(cluster.ctl(&["revoke", "--user", "ann"]).await.code, Some(0));
    for mut tab in tabs {
        assert_eq!(tab.closed().await, (4001, "token-revoked".into()));
    }
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    let open = bearing(upgrade("/ws?user_id=ann"), &revoked);
    assert_eq!(cluster.send(&open).await.problem(), (401, "token-revoked".into()));

    // The next master tells its workers, also those that are born later.
    let master = cluster.master().await;
    kill(master, Signal::KILL);
    eventually("another master", async || {
        let status = cluster.ctl(&["status"]).await;
        if status.code != Some(0) {
            return Err(status.err);
        }
        let status = status.json();
        let next = status["master"].as_u64() != Some(master.into());
        if next && status["state"] == "ready" { Ok(()) } else { Err(status.to_string()) }
    })
    .await;
    kill(bob.pid(), Signal::KILL);
    cluster.until_settled(1).await;
    for _ in 0..8 {
        assert_eq!(cluster.send(&open).await.problem(), (401, "token-revoked".into()));
    }
    bob.ask(&json!({ "type": "quote", "id": 1 }), "quote").await;

    // What is issued later is good; the session that was suspended has ended.
    tokio::time::sleep(Duration::from_millis(1100)).await;
    let fresh = token(&cluster, &["--user", "ann"]).await;
    let back = tab(&cluster, &fresh, &format!("channels=none&resume={resume}")).await;
    assert_eq!(back.welcome["resumed"], false, "{}", back.welcome);
}
