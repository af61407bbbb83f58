//! What a Docker engine leaves in the kernel when it stops: a bridge, packet filter rules, a policy, forwarding.
//! A private engine gets a bridge of its own, and all of it is taken back.

use std::collections::BTreeSet;
use std::process::Stdio;

use anyhow::{Context as _, bail};

use crate::io::process;

/// The tables of the packet filter that dockerd writes to.
const TABLES: [&str; 2] = ["filter", "nat"];
const FORWARDING: &str = "/proc/sys/net/ipv4/ip_forward";

/// The kernel's network as it was, and the bridge that was added. Dropping it undoes what came since.
#[derive(Debug)]
pub(super) struct Network {
    pub(super) bridge: String,
    subnet: String,
    forwarding: String,
    rules: [BTreeSet<String>; 2],
}

impl Network {
    /// Makes a bridge with addresses that no other route of this machine has.
    pub(super) async fn new() -> anyhow::Result<Self> {
        let routes = process::text(process::command("ip").args(["-4", "route", "show", "table", "all"])).await?;
        let free = (0..=255_u8).rev().find(|third| {
            !routes.contains(&format!(" 10.213.{third}.")) && !routes.contains(&format!("10.213.{third}.0/24"))
        });
        let third = free.context("every network of 10.213.0.0/16 is in use on this machine")?;
        let bridge = format!("rehearsal{third}");
        let forwarding = fs_err::read_to_string(FORWARDING)?;
        let rules = [rules(TABLES[0])?, rules(TABLES[1])?];
        let network = Self { bridge, subnet: format!("10.213.{third}."), forwarding, rules };
        let address = format!("{}1/24", network.subnet);
        for words in [
            &["link", "add", "name", &network.bridge, "type", "bridge"][..],
            &["addr", "add", &address, "dev", &network.bridge],
            &["link", "set", &network.bridge, "up"],
        ] {
            process::output(process::command("ip").args(words)).await.context("cannot make a bridge for the engine")?;
        }
        Ok(network)
    }

    /// Deletes what this engine added to one table. A rule of another engine that came at the same time names
    /// neither our bridge, nor our addresses, nor a chain that is new, and stays.
    fn restore(&self, table: &str, before: &BTreeSet<String>) -> anyhow::Result<()> {
        let added: Vec<String> = rules(table)?.difference(before).cloned().collect();
        let chains: Vec<&str> = added.iter().filter_map(|line| line.strip_prefix(':')?.strip_suffix(" -")).collect();
        let is_new_chain = |name: &&str| chains.contains(name);
        for rule in added.iter().filter_map(|line| line.strip_prefix("-A ")) {
            let words: Vec<&str> = rule.split(' ').collect();
            let ours = rule.contains(&self.bridge)
                || rule.contains(&self.subnet)
                || words.iter().any(|word| is_new_chain(&word));
            if ours && !words.first().is_some_and(is_new_chain) {
                iptables(&[&["-t", table, "-D"], &*words].concat())?;
            }
        }
        for action in ["-F", "-X"] {
            for chain in &chains {
                iptables(&["-t", table, action, chain])?;
            }
        }
        // dockerd closes forwarding for everybody when it is the one that opens it.
        let open = ":FORWARD ACCEPT";
        if before.contains(open) && added.iter().any(|line| line == ":FORWARD DROP") {
            iptables(&["-t", table, "-P", "FORWARD", "ACCEPT"])?;
        }
        Ok(())
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        let link =
            std::process::Command::new("ip").args(["link", "delete", &self.bridge]).stderr(Stdio::null()).status();
        let mut failures: Vec<String> = link.err().map(|error| error.to_string()).into_iter().collect();
        for (table, before) in TABLES.iter().zip(&self.rules) {
            failures.extend(self.restore(table, before).err().map(|error| format!("{error:#}")));
        }
        failures.extend(fs_err::write(FORWARDING, &self.forwarding).err().map(|error| error.to_string()));
        for failure in failures {
            crate::io::say(&format!("note: the engine's network could not be taken back whole: {failure}"));
        }
    }
}

/// The chains with their policies, without counters, and the rules of a table.
fn rules(table: &str) -> anyhow::Result<BTreeSet<String>> {
    let saved =
        std::process::Command::new("iptables-save").args(["-t", table]).output().context("cannot run iptables-save")?;
    if !saved.status.success() {
        bail!("iptables-save failed: {}", String::from_utf8_lossy(&saved.stderr).trim());
    }
    let text = String::from_utf8_lossy(&saved.stdout).into_owned();
    let line = |line: &str| match line.as_bytes().first() {
        Some(b':') => Some(line.split(" [").next().unwrap_or(line).to_owned()),
        Some(b'-') => Some(line.to_owned()),
        _ => None,
    };
    Ok(text.lines().filter_map(line).collect())
}

fn iptables(words: &[&str]) -> anyhow::Result<()> {
    let output =
        std::process::Command::new("iptables").arg("--wait").args(words).output().context("cannot run iptables")?;
    if !output.status.success() {
        bail!("`iptables {}` failed: {}", words.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}
