//! The network of a private engine: its own bridge, three rules of the packet filter, and forwarding.
//!
//! dockerd must not touch the packet filter: on start it flushes the chains that publish the ports of other engines on
//! the machine, and on exit it leaves its own chains behind.

use anyhow::{Context as _, ensure};

use crate::io::{process, say};

const FORWARDING: &str = "/proc/sys/net/ipv4/ip_forward";

/// A bridge whose containers reach the outside. Dropping it undoes all changes.
#[derive(Debug)]
pub(super) struct Network {
    pub(super) bridge: String,
    forwarding: String,
    /// The commands that undo the changes; they run in reverse.
    undo: Vec<Vec<String>>,
}

impl Network {
    pub(super) async fn new() -> anyhow::Result<Self> {
        let routes = process::text(process::command("ip").args(["-4", "route", "show", "table", "all"])).await?;
        let free = (0..=255_u8).rev().find(|third| !routes.contains(&format!("10.213.{third}.")));
        let third = free.context("every network of 10.213.0.0/16 is in use on this machine")?;
        let bridge = format!("rehearsal{third}");
        let forwarding = fs_err::read_to_string(FORWARDING)?;
        let mut network = Self { bridge: bridge.clone(), forwarding, undo: Vec::new() };
        network.bridge(&bridge, &format!("10.213.{third}.1/24")).context("cannot make a bridge for the engine")?;
        let subnet = format!("10.213.{third}.0/24");
        // First in the chain: another engine's policy may drop packets of unknown bridges.
        let outside = ["--source", &subnet, "!", "--out-interface", &bridge, "--jump", "MASQUERADE"];
        network.rule("nat", "POSTROUTING", &outside)?;
        network.rule("filter", "FORWARD", &["--in-interface", &bridge, "--jump", "ACCEPT"])?;
        network.rule("filter", "FORWARD", &["--out-interface", &bridge, "--jump", "ACCEPT"])?;
        Ok(network)
    }

    fn bridge(&mut self, name: &str, address: &str) -> anyhow::Result<()> {
        run(&["ip", "link", "add", "name", name, "type", "bridge"])?;
        self.undo.push(["ip", "link", "delete", name].map(str::to_owned).to_vec());
        run(&["ip", "address", "add", address, "dev", name])?;
        run(&["ip", "link", "set", name, "up"])
    }

    fn rule(&mut self, table: &str, chain: &str, rule: &[&str]) -> anyhow::Result<()> {
        let words = |action| [&["iptables", "--wait", "--table", table, action, chain][..], rule].concat();
        run(&words("--insert"))?;
        self.undo.push(words("--delete").into_iter().map(str::to_owned).collect());
        Ok(())
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for words in self.undo.iter().rev() {
            if let Err(error) = run(words) {
                say(&format!("note: cannot remove the engine's network: {error:#}"));
            }
        }
        // dockerd enables it.
        if let Err(error) = fs_err::write(FORWARDING, &self.forwarding) {
            say(&format!("note: {error}"));
        }
    }
}

/// Runs a command to its end; blocking, because `drop` cannot await.
fn run(words: &[impl AsRef<str>]) -> anyhow::Result<()> {
    let words: Vec<&str> = words.iter().map(AsRef::as_ref).collect();
    let (program, arguments) = words.split_first().context("no command")?;
    let output = process::clean_up(std::process::Command::new(program).args(arguments))
        .with_context(|| format!("cannot run `{program}`"))?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "`{}` failed: {}", words.join(" "), stderr.trim());
    Ok(())
}
