//! What a process in the container, and another container on the same network, get from the published ports: nothing
//! without a credential, whatever headers they send.

use anyhow::{Context as _, ensure};

use super::report::Report;
use super::running::{
    BACKEND, DASHBOARD, GATEWAY, LLAMA, MANAGER, OPENCODE, PAGE, Running, SITE, ensure_none, start_of,
};
use super::security::{leaked, listening};
use crate::io::process;

/// Requests each door, `PORT METHOD PATH`, as a program, as a page of that port and as a visit, with and without the
/// headers that a proxy or the front itself adds. Prints `=> STATUS DOOR` after each response.
const ASK: &str = r#"
address=$1
shift
made_up=(-H 'X-Forwarded-For: 127.0.0.1' -H 'X-Forwarded-Host: 127.0.0.1' -H 'X-Real-IP: 127.0.0.1' -H 'Forwarded: for=127.0.0.1'
	-H 'X-Near: 1' -H 'X-Signed-In: 1' -H 'Cookie: mission_control_session=9999999999.a.b' -H 'Authorization: Bearer ')
for door; do
	read -r port method path <<<"$door"
	page=(-H "Origin: http://127.0.0.1:$port" -H "Referer: http://127.0.0.1:$port/" -H 'Sec-Fetch-Site: same-origin' -H 'Sec-Fetch-Mode: cors')
	visit=(-H 'Sec-Fetch-Site: none' -H 'Sec-Fetch-Mode: navigate' -H 'Sec-Fetch-Dest: document')
	ask() {
		curl --silent --max-time 5 --request "$method" --path-as-is --header "Host: 127.0.0.1:$port" "$@" \
			--write-out "\n=> %{http_code} $door\n" "http://$address:$port$path" || true
	}
	ask
	ask "${page[@]}"
	ask "${page[@]}" "${made_up[@]}"
	ask "${visit[@]}"
	ask "${visit[@]}" "${made_up[@]}"
done
"#;
/// The doors that the front opens to visits from this machine.
const DOORS: [(&str, &str, &str); 15] = [
    (DASHBOARD, "GET", "/"),
    (DASHBOARD, "GET", "/api/current_deployment"),
    (BACKEND, "POST", "/api/query"),
    (SITE, "GET", "/"),
    (PAGE, "GET", "/"),
    (PAGE, "GET", "/_stack.json"),
    (PAGE, "GET", "/metrics"),
    (PAGE, "POST", "/hooks/agent"),
    (PAGE, "POST", "/api/mutation"),
    (GATEWAY, "GET", "/"),
    (GATEWAY, "POST", "/hooks/agent"),
    (OPENCODE, "POST", "/pty"),
    (LLAMA, "GET", "/health"),
    (LLAMA, "POST", "/v1/chat/completions"),
    (MANAGER, "GET", "/api/health"),
];
/// The programs' own endpoints for events, by the port's setting.
const EVENTS: [(&str, &str); 2] = [(SITE, "/openclaw/event"), (BACKEND, "/http/openclaw/event")];

pub(super) async fn prove(report: &mut Report, running: &Running<'_>) {
    report.group("inside");
    report.see("a process in the container has no access", 90, process_inside(running)).await;
    report.see("another container on the bridge has no access", 60, neighbour(running)).await;
    report.see("every port listens on IPv6 too", 30, over_ipv6(running)).await;
    report.see("events without the gateway's token are refused", 20, events(running)).await;
}

/// Returns the container's IP address, and the host's on the same network.
async fn addresses(running: &Running<'_>) -> anyhow::Result<(String, String)> {
    let output =
        running.container.inspect("{{range .NetworkSettings.Networks}}{{.IPAddress}} {{.Gateway}}{{end}}").await?;
    let (own, gateway) = output.split_once(' ').with_context(|| format!("docker reports no addresses: {output:?}"))?;
    Ok((own.to_owned(), gateway.to_owned()))
}

fn doors(running: &Running<'_>) -> anyhow::Result<Vec<String>> {
    DOORS.iter().map(|(setting, method, path)| Ok(format!("{} {method} {path}", running.port(setting)?))).collect()
}

/// All must be refused without a sign-in, and contain no secret.
fn refused(running: &Running<'_>, output: &str) -> anyhow::Result<usize> {
    let answers = || output.lines().filter_map(|line| line.strip_prefix("=> "));
    let (count, wanted) = (answers().count(), DOORS.len() * 5);
    ensure!(count == wanted, "{count} answers instead of {wanted}: {}", start_of(output));
    ensure_none("not refused: ", "; ", answers().filter(|it| !it.starts_with("401 ")))?;
    ensure_none("it gets ", ", ", leaked(running, output))?;
    Ok(count)
}

async fn process_inside(running: &Running<'_>) -> anyhow::Result<String> {
    let doors = doors(running)?;
    let (own, _) = addresses(running).await?;
    let mut count = 0;
    for address in ["127.0.0.1", own.as_str()] {
        let mut words = vec!["bash", "-c", ASK, "ask", address];
        words.extend(doors.iter().map(String::as_str));
        count += refused(running, &running.container.exec(&words).await?).with_context(|| format!("at {address}"))?;
    }
    Ok(format!("{count} attempts at the loopback and at the container's address"))
}

async fn neighbour(running: &Running<'_>) -> anyhow::Result<String> {
    let (own, _) = addresses(running).await?;
    Ok(format!("{} attempts", ask_from_outside(running, &own).await?))
}

/// The same doors, at the port that is published on all of the host's addresses.
pub(super) async fn through_the_gateway(running: &Running<'_>) -> anyhow::Result<String> {
    let (_, gateway) = addresses(running).await?;
    Ok(format!("{} attempts", ask_from_outside(running, &gateway).await?))
}

async fn ask_from_outside(running: &Running<'_>, address: &str) -> anyhow::Result<usize> {
    let bench = running.bench;
    let mut command = bench.docker.command();
    command.args(["run", "--rm", "--entrypoint", "bash", bench.image, "-c", ASK, "ask", address]);
    refused(running, &process::text(command.args(doors(running)?)).await?)
}

async fn over_ipv6(running: &Running<'_>) -> anyhow::Result<String> {
    let sockets = running.container.try_exec(&["cat", "/proc/net/tcp6"]).await?;
    if sockets.code != 0 {
        return Ok("this kernel has no IPv6".to_owned());
    }
    let open = listening(&sockets.output);
    ensure_none("not open on IPv6: ", ", ", running.ports().filter(|port| !open.contains(port)))?;
    Ok(format!("{} ports", open.len()))
}

async fn events(running: &Running<'_>) -> anyhow::Result<String> {
    for (setting, path) in EVENTS {
        let inner = running.inner_port(setting).context("no inner port")?;
        let url = format!("http://127.0.0.1:{inner}{path}");
        for header in ["X-Forwarded-For: 127.0.0.1", "Authorization: Bearer ", "Authorization: Bearer made-up"] {
            let curl = ["curl", "--silent", "--write-out", " %{http_code}", "--header", header, "--data", "{}", &url];
            let output = running.container.exec(&curl).await?;
            ensure!(output.ends_with(" 401"), "{url} with `{header}`: {}", start_of(&output));
        }
    }
    Ok("401 at both inner ports".to_owned())
}
