//! `cargo xtask`: makes the Mission Control image. See README.md for what each command does.

use std::process::ExitCode;

use clap::Parser as _;

mod benchmark;
mod cli;
mod commands;
mod domain;
mod engine;
mod error;
mod io;
mod rehearsal;
mod render;
mod smoke;
mod upstream;

#[tokio::main]
async fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    // A command holds what it made (temporary files, child processes, containers) in values that clean up
    // when they are dropped, so that dropping its future is all that an interruption needs.
    let result = tokio::select! {
        result = commands::run(cli) => result,
        () = io::interrupt() => Err(error::Ended::Interrupted.into()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            io::say(error::render(&error).trim_end());
            ExitCode::from(error::exit_code(&error))
        }
    }
}
