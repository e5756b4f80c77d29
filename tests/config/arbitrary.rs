//! Whatever a file says, the answer is a configuration or faults.

use super::source;
use btc_cluster::config::{Source, load, render};
use proptest::prelude::*;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

/// Pieces of configurations, so that the text is near enough to one to get past the syntax.
fn piece() -> impl Strategy<Value = String> {
    let word = prop_oneof![
        Just("http".to_owned()),
        Just("cluster".to_owned()),
        Just("price".to_owned()),
        Just("provider.mock".to_owned()),
        Just("provider.x".to_owned()),
        Just("channels".to_owned()),
        "[a-z_.\"-]{0,12}",
    ];
    let key = prop_oneof![
        Just("listen".to_owned()),
        Just("workers".to_owned()),
        Just("providers".to_owned()),
        Just("symbol".to_owned()),
        Just("kind".to_owned()),
        Just("name".to_owned()),
        "[a-zA-Z_\"-]{1,10}",
    ];
    let value = prop_oneof![
        "[-0-9_.eE+xa-f:T]{1,30}",
        "\"[ -!#-\\[\\]-~]{0,20}\"",
        "\\[[0-9a-z\", ]{0,20}\\]",
        "\\{[0-9a-z\", =]{0,20}\\}",
        Just("true".to_owned()),
        "\\PC{0,20}",
    ];
    prop_oneof![
        word.clone().prop_map(|w| format!("[{w}]\n")),
        word.prop_map(|w| format!("[[{w}]]\n")),
        (key, value).prop_map(|(k, v)| format!("{k} = {v}\n")),
        "\\PC{0,40}\n",
    ]
}

fn answers(source: &Source) -> Result<(), TestCaseError> {
    match load(source) {
        Ok(loaded) => prop_assert!(render(&loaded).contains("http.listen = ")),
        Err(faults) => {
            prop_assert!(!faults.0.is_empty());
            for fault in faults.to_string().lines() {
                prop_assert!(!fault.contains("this is a defect"), "{fault}");
            }
            prop_assert_eq!(faults.to_string().lines().count(), faults.0.len(), "one line each: {}", faults);
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_answered(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("x.toml"), bytes).unwrap();
        answers(&source(folder.path().join("x.toml")))?;
    }

    #[test]
    fn any_near_configuration_is_answered(pieces in proptest::collection::vec(piece(), 0..20)) {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("x.toml"), pieces.concat()).unwrap();
        answers(&source(folder.path().join("x.toml")))?;
    }

    #[test]
    fn any_variable_is_answered(
        name in "BTC_CLUSTER__(HTTP|PROVIDER|PRICE|CHANNELS|[A-Z_]{0,8})(__[A-Z_]{0,10}){0,3}",
        value in proptest::collection::vec(any::<u8>(), 0..40),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let mut source = source(folder.path().join("x.toml"));
        source.required = false;
        source.variables = vec![(name.into(), OsString::from_vec(value))];
        answers(&source)?;
    }
}
