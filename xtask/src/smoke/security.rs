//! The security of a running container: its user, its secrets, its open ports.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, ensure};

use super::report::Report;
use super::running::{Running, ensure_none, start_of};
use crate::io::process;

/// The services whose processes may have a secret in their environment, because they accept it in no other way.
const HOLDERS: [(&str, &[&str]); 7] = [
    ("LLAMACPP_API_KEY", &["llamacpp", "opencode", "openclaw"]),
    ("MISSION_CONTROL_EVENT_TOKEN", &["openclaw"]),
    ("OPENCODE_SERVER_PASSWORD", &["opencode", "manager"]),
    ("MANAGER_ADMIN_PASSWORD", &["manager"]),
    ("MANAGER_AUTH_SECRET", &["manager"]),
    ("OPENCLAW_GATEWAY_TOKEN", &["openclaw"]),
    ("OPENCLAW_HOOKS_TOKEN", &["openclaw"]),
];
/// The backend accepts it on its command line only; the README documents this.
const ON_A_COMMAND_LINE: (&str, &str) = ("CONVEX_INSTANCE_SECRET", "convex");
/// Public: the key set for verifying tokens.
const PUBLIC: &str = "JWKS";

pub(super) async fn prove(report: &mut Report, running: &Running<'_>) {
    report.group("security");
    report.see("no process is root or has a capability", 30, no_root(running)).await;
    report.see("only the declared ports are open", 20, open_ports(running)).await;
    report.see("no secret in a command line or another's environment", 30, environments(running)).await;
    report.see("no secret in history, inspection or log", 60, records(running)).await;
    report.see("secret files are readable by their owner only", 20, modes(running)).await;
    report.see("every line of the log names its service", 20, log_lines(running)).await;
}

/// The names of the secrets that are in a text.
pub(super) fn leaked<'a>(running: &'a Running<'_>, text: &str) -> impl Iterator<Item = &'a str> {
    needles(&running.secrets).filter(|(_, value)| text.contains(value)).map(|(name, _)| name)
}

/// The part of each secret to search for, by the secret's name.
fn needles(secrets: &BTreeMap<String, String>) -> impl Iterator<Item = (&str, &str)> {
    let known = secrets.iter().filter(|(name, _)| *name != PUBLIC);
    known.map(|(name, value)| (name.as_str(), needle(value)))
}

/// The longest line of a key; the part after the instance's name of an admin key.
fn needle(value: &str) -> &str {
    let line = value.lines().max_by_key(|line| line.len()).unwrap_or_default();
    line.rsplit_once('|').map_or(line, |(_, sealed)| sealed)
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Process {
    pub(super) pid: u32,
    /// Its session id: the leader is the process that the supervisor started.
    pub(super) session: u32,
    uid: u32,
    pub(super) words: String,
    environment: String,
}

impl Process {
    /// Its service, from its environment; the supervisor has none.
    pub(super) fn service(&self) -> &str {
        let mut lines = self.environment.lines();
        lines.find_map(|line| line.strip_prefix("STACK_SERVICE=")).unwrap_or("supervisor")
    }
}

/// Skips processes that end meanwhile.
const LIST: &str = r#"for folder in /proc/[0-9]*; do
    uid=$(stat --format %u "$folder" 2>/dev/null) || continue
    words=$(tr '\0' ' ' <"$folder/cmdline" 2>/dev/null) || continue
    state=$(cat "$folder/stat" 2>/dev/null) || continue
    read -r _ _ _ session _ <<<"${state##*) }"
    printf '\1%s\2%s\2%s\2%s\2' "${folder#/proc/}" "$session" "$uid" "$words"
    tr '\0' '\n' <"$folder/environ" 2>/dev/null || true
done"#;

pub(super) async fn processes(running: &Running<'_>) -> anyhow::Result<Vec<Process>> {
    let listed = running.container.exec(&["bash", "-c", LIST]).await?;
    let found = parse_processes(&listed).context("the list of processes does not parse")?;
    ensure!(found.iter().any(|process| process.pid == 1), "the list of processes is incomplete");
    Ok(found)
}

fn parse_processes(listed: &str) -> Option<Vec<Process>> {
    let parse = |text: &str| {
        let mut fields = text.splitn(5, '\u{2}');
        let mut number = || fields.next()?.parse().ok();
        let (pid, session, uid) = (number()?, number()?, number()?);
        let (words, environment) = (fields.next()?.trim().to_owned(), fields.next()?.to_owned());
        Some(Process { pid, session, uid, words, environment })
    };
    listed.split('\u{1}').skip(1).map(parse).collect()
}

async fn no_root(running: &Running<'_>) -> anyhow::Result<String> {
    let uid = running.bench.stack.image.uid;
    let all = processes(running).await?;
    let others = all.iter().filter(|process| process.uid != uid);
    ensure_none(&format!("not uid {uid}: "), "; ", others.map(|it| format!("uid {}: {}", it.uid, it.words)))?;
    let status = running.container.exec(&["bash", "-c", "cat /proc/[0-9]*/status 2>/dev/null || true"]).await?;
    for line in status.lines().filter(|line| line.starts_with("CapEff:") || line.starts_with("CapPrm:")) {
        ensure!(line.split_whitespace().nth(1).is_some_and(|mask| mask.bytes().all(|it| it == b'0')), "{line}");
    }
    Ok(format!("{} processes of uid {uid}", all.len()))
}

async fn open_ports(running: &Running<'_>) -> anyhow::Result<String> {
    let sockets = running.container.exec(&["cat", "/proc/net/tcp", "/proc/net/tcp6"]).await?;
    let open = listening(&sockets);
    let declared: BTreeSet<u16> = running.ports().collect();
    ensure_none("open to the network as well: ", ", ", open.difference(&declared))?;
    ensure_none("not open to the network: ", ", ", declared.difference(&open))?;
    Ok(format!("{} ports; everything else listens on the container's loopback", open.len()))
}

/// Returns the ports with a listener beyond the loopback, from the kernel's tables.
pub(super) fn listening(sockets: &str) -> BTreeSet<u16> {
    let parse = |line: &str| {
        let mut fields = line.split_whitespace().skip(1);
        let (address, port) = fields.next()?.split_once(':')?;
        let listens = fields.nth(1)? == "0A";
        // 127.x.y.z and ::1, in the kernel's byte order; also IPv4-mapped 127.x.y.z.
        let loopback = if address.len() == 8 {
            address.ends_with("7F")
        } else {
            address == "00000000000000000000000001000000"
                || address.starts_with("0000000000000000FFFF0000") && address.ends_with("7F")
        };
        (listens && !loopback).then(|| u16::from_str_radix(port, 16).ok()).flatten()
    };
    sockets.lines().filter_map(parse).collect()
}

async fn environments(running: &Running<'_>) -> anyhow::Result<String> {
    let all = processes(running).await?;
    let mut wrong = BTreeSet::new();
    for (name, value) in needles(&running.secrets) {
        let holders = HOLDERS.iter().find(|(held, _)| *held == name).map_or(&[][..], |(_, holders)| holders);
        for process in &all {
            let service = process.service();
            if process.words.contains(value) && (name, service) != ON_A_COMMAND_LINE {
                wrong.insert(format!("{name} on a command line of {service}"));
            }
            if process.environment.contains(value) && !holders.contains(&service) {
                wrong.insert(format!("{name} in the environment of {service}"));
            }
        }
    }
    ensure_none("", "; ", wrong)?;
    let (secrets, processes, known) = (needles(&running.secrets).count(), all.len(), ON_A_COMMAND_LINE.0);
    Ok(format!("{secrets} secrets, {processes} processes; {known} is on its own program's"))
}

/// The data outside of the volume.
async fn records(running: &Running<'_>) -> anyhow::Result<String> {
    let bench = running.bench;
    let history = process::text(bench.docker.command().args(["history", "--no-trunc", bench.image])).await?;
    let image = process::text(bench.docker.command().args(["image", "inspect", bench.image])).await?;
    let container = running.container.inspect("{{json .}}").await?;
    let logs = running.container.logs().await?;
    let places = [("history", &history), ("the image", &image), ("the container", &container), ("the log", &logs)];
    let mut wrong = Vec::new();
    for (place, text) in places {
        wrong.extend(leaked(running, text).map(|name| format!("{name} in {place}")));
    }
    for setting in bench.stack.settings.iter().filter(|setting| setting.secret) {
        if image.contains(&format!("\"{}=", setting.name)) {
            wrong.push(format!("{} has a value in the image", setting.name));
        }
    }
    ensure_none("", "; ", wrong)?;
    Ok(format!("{} lines of log searched", logs.lines().count()))
}

async fn modes(running: &Running<'_>) -> anyhow::Result<String> {
    let list = "stat --format '%a %u %F %n' /data/secrets /data/secrets/*";
    let listed = running.container.exec(&["bash", "-c", list]).await?;
    let uid = running.bench.stack.image.uid.to_string();
    for line in listed.lines() {
        let mut fields = line.split_whitespace();
        let (mode, owner) = (fields.next().unwrap_or_default(), fields.next().unwrap_or_default());
        let wanted = if line.contains(" directory ") { "700" } else { "600" };
        ensure!(mode == wanted && owner == uid, "not {wanted} of uid {uid}: {line}");
    }
    Ok(format!("{} files, 0600 in a folder of 0700", listed.lines().count() - 1))
}

async fn log_lines(running: &Running<'_>) -> anyhow::Result<String> {
    let logs = running.container.logs().await?;
    let mut services: BTreeSet<&str> = running.bench.stack.services.iter().map(|it| it.name.as_str()).collect();
    services.insert("stack");
    for line in logs.lines() {
        let owner = line.strip_prefix('[').and_then(|rest| rest.split_once(']'));
        let is_known = owner.is_some_and(|(name, _)| services.contains(name));
        ensure!(is_known, "a line without a service: {}", start_of(line));
    }
    Ok(format!("{} lines", logs.lines().count()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_found_by_its_unique_part() {
        assert_eq!(needle("mission-control|01ab"), "01ab");
        assert_eq!(needle("-----BEGIN-----\nabcdefghijklmnopqrst\n-----END-----"), "abcdefghijklmnopqrst");
        assert_eq!(needle("token"), "token");
    }

    #[test]
    fn processes_are_parsed() {
        let listed = "\u{1}1\u{2}1\u{2}10001\u{2}s6-svscan /x\u{2}PATH=/bin\n\u{1}12\u{2}7\u{2}0\u{2}node a b \u{2}A=1\nSTACK_SERVICE=convex\n";
        let found = parse_processes(listed).unwrap();
        assert_eq!(found.len(), 2);
        assert_eq!((found[0].pid, found[0].uid, found[0].service()), (1, 10001, "supervisor"));
        assert_eq!((found[1].pid, found[1].session), (12, 7));
        assert_eq!((found[1].uid, found[1].words.as_str(), found[1].service()), (0, "node a b", "convex"));
        assert!(parse_processes("\u{1}x\u{2}").is_none());
    }

    #[test]
    fn only_what_listens_beyond_the_loopback_is_open() {
        let sockets = "  sl  local_address rem_address   st\n\
            0: 00000000:0BB8 00000000:0000 0A 0\n\
            1: 0100007F:3A9B 00000000:0000 0A 0\n\
            2: 0B00007F:9999 00000000:0000 0A 0\n\
            3: 00000000:1F90 0100007F:C001 01 0\n\
            4: 00000000000000000000000000000000:14EB 00000000000000000000000000000000:0000 0A 0\n\
            5: 00000000000000000000000001000000:14EC 00000000000000000000000000000000:0000 0A 0\n";
        assert_eq!(listening(sockets), BTreeSet::from([3000, 5355]));
    }
}
