//! Layers and origins, files that are none, secrets.

use super::{around, source};
use btc_cluster::config::{
    Environment, Lines, Origin, Provider, ProviderKind, Source, WorkerCount, control_socket, load, render,
};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

fn faults(source: &Source) -> String {
    let folder = format!("{}/", source.folder().display());
    load(source).unwrap_err().to_string().replace(&folder, "")
}

fn origin(source: &Source, key: &str) -> String {
    let folder = format!("{}/", source.folder().display());
    load(source).unwrap().setting(key).unwrap().origin.to_string().replace(&folder, "")
}

#[test]
fn each_layer_wins_over_those_before_it() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::create_dir(at("conf.d")).unwrap();
    let mut source = source(at("main.toml"));
    source.required = false;
    let workers = |source: &Source| match load(source).unwrap().config.cluster.workers {
        WorkerCount::Exactly(n) => n,
        WorkerCount::Auto => 0,
    };
    assert_eq!((workers(&source), origin(&source, "cluster.workers")), (0, "default".to_owned()));
    let layers = ["main.toml", "test.toml", "conf.d/10-a.toml", "conf.d/9-b.toml"];
    for (name, n) in layers.iter().zip(1..) {
        fs::write(at(name), format!("# first\n[cluster]\nworkers = {n}\n")).unwrap();
        assert_eq!((workers(&source), origin(&source, "cluster.workers")), (n, format!("{name}:3")));
    }
    source.variables = vec![("BTC_CLUSTER__CLUSTER__WORKERS".into(), "5".into())];
    assert_eq!(workers(&source), 5);
    source.overrides = vec![("cluster.workers".into(), "6".into())];
    assert_eq!((workers(&source), origin(&source, "cluster.workers")), (6, "command line".to_owned()));
    // A section of one layer does not hide the keys of another.
    fs::write(at("main.toml"), "[cluster]\ndrain = \"9s\"\n[provider.mock]\nseed = 4\n").unwrap();
    fs::write(at("conf.d/10-a.toml"), "[provider.mock]\nprice = \"7\"\n").unwrap();
    let loaded = load(&source).unwrap();
    assert_eq!(loaded.config.cluster.drain.as_secs(), 9);
    let Some(Provider { kind: ProviderKind::Mock { price, seed, .. }, .. }) =
        loaded.config.providers.get("mock")
    else {
        panic!("no mock");
    };
    assert_eq!((price.to_string().as_str(), *seed), ("7", 4));
    assert_eq!(loaded.files.len(), 4);
    assert!(loaded.setting("cluster.workers").unwrap().origin.is_fixed());
}

#[test]
fn each_environment_has_its_defaults() {
    let find = |env: &str| Source::find(None, Some(env), &around(&[])).unwrap();
    let text = |env| {
        let config = load(&find(env)).unwrap().config;
        let listen = [Some(&config.http.listen), Some(&config.ws.listen), config.admin.listen.as_ref()];
        let listen: Vec<_> = listen.iter().flatten().map(|l| (l.addresses.clone(), l.best_effort)).collect();
        format!("{listen:?} {} {} {:?}", config.stats.users, config.ws.echo, config.price.providers)
    };
    assert_eq!(
        text("production"),
        "[([[::]:3000], true), ([[::]:8080], true)] false false \
         [\"binance\", \"coinbase\", \"kraken\", \"bitstamp\"]"
    );
    assert_eq!(
        text("development"),
        "[([127.0.0.1:3000, [::1]:3000], true), ([127.0.0.1:8080, [::1]:8080], true), ([127.0.0.1:3001], true)] \
         true true [\"binance\", \"coinbase\", \"kraken\", \"bitstamp\", \"mock\"]"
    );
    assert_eq!(
        text("test"),
        "[([127.0.0.1:3000, [::1]:3000], true), ([127.0.0.1:8080, [::1]:8080], true)] true true [\"mock\"]"
    );
    assert_eq!(load(&find("test")).unwrap().config.environment, Environment::Test);
}

#[test]
fn a_written_address_is_wanted_for_sure() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("x.toml");
    fs::write(&file, "[http]\nlisten = [\"127.0.0.1:1\", \"[::1]:1\"]\n").unwrap();
    let config = load(&source(&file)).unwrap().config;
    assert!(!config.http.listen.best_effort && config.ws.listen.best_effort);
}

#[test]
fn only_the_file_of_the_command_line_must_be_there() {
    let folder = tempfile::tempdir().unwrap();
    let mut source = source(folder.path().join("x.toml"));
    assert_eq!(faults(&source), "x.toml: no such file");
    source.required = false;
    assert!(load(&source).unwrap().files.is_empty());
    assert!(render(&load(&source).unwrap()).contains("# no file was read\n"));
}

#[test]
fn what_is_no_file_is_one_clear_fault() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let source = source(at("x.toml"));
    let said = |make: &dyn Fn(&Path)| {
        let _ = fs::remove_file(at("x.toml")).or_else(|_| fs::remove_dir(at("x.toml")));
        make(&at("x.toml"));
        faults(&source)
    };
    let fifo = |path: &Path| {
        use rustix::fs::{CWD, FileType, Mode, mknodat};
        mknodat(CWD, path, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
    };
    assert_eq!(said(&fifo), "x.toml: is a fifo, not a regular file");
    assert_eq!(said(&|path| fs::create_dir(path).unwrap()), "x.toml: is a folder, not a regular file");
    assert_eq!(said(&|path| symlink("nowhere", path).unwrap()), "x.toml: is a link to nothing");
    let large = |path: &Path| fs::write(path, "#".repeat(10_000_000)).unwrap();
    assert_eq!(said(&large), "x.toml: is larger than 1 MiB: no configuration");
    assert_eq!(said(&|path| fs::write(path, b"# a\n# \xff\n").unwrap()), "x.toml:2: is not UTF-8");
    let secret = |path: &Path| {
        fs::write(path, "").unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o000)).unwrap();
    };
    // The superuser may read it all the same.
    if !rustix::process::geteuid().is_root() {
        assert_eq!(said(&secret), "x.toml: cannot be read: permission denied");
    }
    fs::remove_file(at("x.toml")).unwrap();
    fs::write(at("x.toml"), "").unwrap();
    fs::write(at("conf.d"), "").unwrap();
    assert_eq!(faults(&source), "conf.d: is no folder");
    fs::remove_file(at("conf.d")).unwrap();
    fs::create_dir_all(at("conf.d/a.toml")).unwrap();
    symlink("user@host.1234", at("conf.d/.#b.toml")).unwrap();
    assert_eq!(faults(&source), "conf.d/a.toml: is a folder, not a regular file");
}

#[test]
fn faults_of_all_files_are_told_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::create_dir(at("conf.d")).unwrap();
    fs::write(at("z.toml"), "[cluster]\nworkers = 0\n[heartbeat]\ninterval = \"1h\"\n").unwrap();
    fs::write(at("test.toml"), "[cluster]\ndrain =\n").unwrap();
    fs::write(at("conf.d/a.toml"), "[clutser]\n").unwrap();
    let mut source = source(at("z.toml"));
    source.variables = vec![("BTC_CLUSTER__WS__ECHO".into(), "maybe".into())];
    assert_eq!(
        faults(&source),
        "z.toml:2: cluster.workers: must be \"auto\" or a number from 1 to 256, not 0\n\
         test.toml:2: string values must be quoted, expected literal string\n\
         conf.d/a.toml:1: clutser: unknown section; did you mean \"cluster\"?\n\
         environment BTC_CLUSTER__WS__ECHO: ws.echo: must be true or false, not \"maybe\"",
        "the heartbeat is not judged while a file that may set its timeout cannot be read"
    );
}

#[test]
fn a_secret_comes_from_the_credentials_or_from_beside_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let text = "[price]\nproviders = [\"mock\", \"coindesk\"]\n[provider.coindesk]\napi_key_file = \"key\"\n";
    fs::write(at("x.toml"), text).unwrap();
    let mut source = source(at("x.toml"));
    let key = |source: &Source| {
        let loaded = load(source).unwrap();
        let text = format!("{}{:?}{:?}", render(&loaded), loaded, loaded.config);
        assert!(!text.contains("hidden"), "{text}");
        let Some(Provider { kind: ProviderKind::Coindesk { api_key, .. }, .. }) =
            loaded.config.providers.get("coindesk")
        else {
            panic!("no coindesk");
        };
        (api_key.as_ref().unwrap().expose().to_owned(), loaded.warnings.len())
    };
    let write = |name: &str, text: &str, mode: u32| {
        fs::write(at(name), text).unwrap();
        fs::set_permissions(at(name), fs::Permissions::from_mode(mode)).unwrap();
    };
    assert!(faults(&source).ends_with("key: no such file"), "{}", faults(&source));
    write("key", "  hidden-one \n", 0o600);
    assert_eq!(key(&source), ("hidden-one".to_owned(), 0));
    write("key", "hidden-one", 0o644);
    assert_eq!(key(&source).1, 1, "everybody may read it");
    fs::create_dir(at("credentials")).unwrap();
    source.credentials = Some(at("credentials"));
    assert_eq!(key(&source).0, "hidden-one", "not there");
    write("credentials/key", "hidden-two", 0o400);
    assert_eq!(key(&source), ("hidden-two".to_owned(), 0));
    for bad in ["", "\n", "hidden three", "hidden\nhidden"] {
        write("credentials/key", bad, 0o600);
        let fault = faults(&source);
        assert!(
            fault.ends_with("must hold the key and nothing else") && !fault.contains("hidden"),
            "{fault}"
        );
    }
}

#[test]
fn the_control_socket_is_found_whatever_else_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("x.toml");
    let mut source = source(&file);
    assert_eq!(control_socket(&source), Path::new("/tmp/btc-cluster-1000/control.sock"));
    fs::write(&file, "[control]\nsocket = \"/x/y\"\n[nonsense]\n[cluster]\nworkers = 0\n").unwrap();
    assert_eq!(control_socket(&source), Path::new("/x/y"));
    fs::write(&file, "[control]\nsocket = \"/x/y\"\n[nonsense\n").unwrap();
    assert_eq!(control_socket(&source), Path::new("/tmp/btc-cluster-1000/control.sock"));
    source.variables = vec![("BTC_CLUSTER__CONTROL__SOCKET".into(), "/z".into())];
    assert_eq!(control_socket(&source), Path::new("/z"));
    assert_eq!(load(&source).unwrap_err().0[0].origin, Origin::File { path: file.as_path().into(), line: 3 });
}

#[test]
fn relative_paths_count_from_the_file_that_names_them() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::create_dir_all(at("page")).unwrap();
    fs::write(
        at("x.toml"),
        "streams = [{ name = \"log\", file = \"x.log\" }]\n[http]\nstatic_dir = \"page\"\n",
    )
    .unwrap();
    let mut source = source(at("x.toml"));
    let config = load(&source).unwrap().config;
    assert_eq!(config.http.static_dir, Some(at("page")));
    assert_eq!(config.lines().collect::<Vec<_>>(), [&Lines::File(at("x.log"))]);
    source.overrides = vec![("http.static_dir".into(), "src".into())];
    let here = std::env::current_dir().unwrap();
    assert_eq!(load(&source).unwrap().config.http.static_dir, Some(here.join("src")));
}

#[test]
fn a_file_of_nothing_but_faults_is_answered_in_short() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("x.toml");
    let said = |text: String| {
        fs::write(&file, text).unwrap();
        let faults = load(&source(&file)).unwrap_err().0;
        (faults.len(), faults.last().unwrap().text.clone())
    };
    let more = "and more faults from here on: these are the first 100".to_owned();
    let keys: String = (0..90_000).map(|i| format!("a{i} = 1\n")).collect();
    assert_eq!(said(format!("[http]\n{keys}")), (101, more.clone()));
    let providers: String = (0..20_000).map(|i| format!("[provider.a{i}]\nkind = \"mock\"\n")).collect();
    assert_eq!(said(providers), (101, more));
    let symbols = "\"AA-BB\", ".repeat(90_000);
    let most = "must have at most 1000 entries".to_owned();
    assert_eq!(said(format!("[price]\nsymbols = [{symbols}]")), (1, most));
}
