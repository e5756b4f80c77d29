//! The one binary: master, feeder, workers and tools are all this program.

fn main() -> std::process::ExitCode {
    btc_cluster::cli::run()
}
