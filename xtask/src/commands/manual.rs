//! `completions` and `man`: shell completions and manual pages.

use clap::CommandFactory as _;
use clap_complete::Shell;

use crate::cli::{Cli, Format};

/// For an alias (`alias xtask='cargo xtask'`), because cargo only completes its own commands.
pub(super) fn completions(shell: Shell, format: Format) -> anyhow::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command().name("xtask"), "xtask", &mut script);
    print(&script, format)
}

pub(super) fn page(name: Option<&str>, format: Format) -> anyhow::Result<()> {
    let mut whole = Cli::command().name("cargo-xtask").bin_name("cargo xtask");
    whole.build();
    let command = match name {
        None => whole,
        Some(name) => {
            let found = whole.find_subcommand(name).cloned();
            found.ok_or_else(|| anyhow::anyhow!("there is no command `{}`", name.escape_debug()))?
        }
    };
    let mut page = Vec::new();
    clap_mangen::Man::new(command).render(&mut page)?;
    print(&page, format)
}

fn print(text: &[u8], format: Format) -> anyhow::Result<()> {
    let text = String::from_utf8_lossy(text);
    super::print(format, &serde_json::json!({ "text": text }), || text.trim_end().to_owned())
}
