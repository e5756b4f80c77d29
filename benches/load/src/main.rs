//! The load tool; see the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    btc_cluster_load::main()
}
