//! `cargo xtask`: makes the Mission Control image. See README.md for what each command does.

use std::process::ExitCode;
use std::time::Duration;

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

use cli::Format;
use error::Ended;
use io::{ending, process};

const ON_ITS_WAY: Duration = Duration::from_millis(200);

fn main() -> ExitCode {
    let cli = match cli::parse() {
        Ok(cli) => cli,
        Err(error) => return wrong_command_line(&error),
    };
    io::set_volume(cli.global.quiet, cli.global.verbose);
    io::http::set_timeout(cli.global.timeout);
    let format = cli.global.format;
    let result = run(cli);
    let code = result.as_ref().err().map_or(0, error::exit_code);
    if let Err(error) = &result {
        io::complain(error::render(error).trim_end());
    }
    ended(format, result.err().as_ref(), code)
}

fn run(cli: cli::Cli) -> anyhow::Result<()> {
    let mut signals = ending::watch();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    // A command keeps its temporary files, child processes and containers in values that clean up
    // when they are dropped, so an interruption only has to drop its future.
    let result = runtime.block_on(async {
        let interrupted = |signal| Err(Ended::Interrupted { signal, left: ending::left() }.into());
        let result = tokio::select! {
            biased;
            Ok(signal) = &mut signals => return interrupted(signal),
            result = commands::run(cli) => result,
        };
        // The signal that ended a child may be on its way to us as well.
        if result.is_err()
            && process::was_struck()
            && let Ok(Ok(signal)) = tokio::time::timeout(ON_ITS_WAY, signals).await
        {
            return interrupted(signal);
        }
        result
    });
    // Do not wait for blocking tasks.
    runtime.shutdown_background();
    result
}

/// Prints help or the version, or what is wrong with the command line.
fn wrong_command_line(error: &clap::Error) -> ExitCode {
    io::note(error.print());
    let format = if cli::asks_for_json() { Format::Json } else { Format::Text };
    if !error.use_stderr() {
        return ended(Format::Text, None, 0);
    }
    let message = error.render().to_string();
    let message = anyhow::anyhow!(message.trim().trim_start_matches("error: ").to_owned());
    ended(format, Some(&message), 2)
}

/// Prints the JSON document, and reports a result that could not be printed.
fn ended(format: Format, error: Option<&anyhow::Error>, code: u8) -> ExitCode {
    if format == Format::Json
        && let Err(error) = io::print_document(&error.map(error::explain).unwrap_or_default())
    {
        io::complain(error::render(&error.context("cannot print the result as JSON")).trim_end());
        return ExitCode::FAILURE;
    }
    if let Some(error) = io::unprinted() {
        let error = anyhow::Error::new(error).context("the result cannot be printed; what the command did stays done");
        io::complain(error::render(&error).trim_end());
        return ExitCode::from(code.max(1));
    }
    ExitCode::from(code)
}
