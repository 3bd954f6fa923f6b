//! The `doppel` binary: everything is in the library, under `cli`.

fn main() -> std::process::ExitCode {
    doppel::cli::run(std::env::args_os())
}
