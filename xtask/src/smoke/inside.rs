//! What a process in the container, and another container on the same network, get from the published ports: nothing
//! without a credential, whatever headers they send.

use anyhow::{Context as _, ensure};

use super::report::Report;
use super::running::{Running, start_of};
use super::security::{listening, needles};
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
    ("CONVEX_DASHBOARD_PORT", "GET", "/"),
    ("CONVEX_DASHBOARD_PORT", "GET", "/api/current_deployment"),
    ("CONVEX_BACKEND_PORT", "POST", "/api/query"),
    ("CONVEX_SITE_PORT", "GET", "/"),
    ("MISSION_CONTROL_PORT", "GET", "/"),
    ("MISSION_CONTROL_PORT", "GET", "/_stack.json"),
    ("MISSION_CONTROL_PORT", "GET", "/metrics"),
    ("MISSION_CONTROL_PORT", "POST", "/hooks/agent"),
    ("MISSION_CONTROL_PORT", "POST", "/api/mutation"),
    ("OPENCLAW_PORT", "GET", "/"),
    ("OPENCLAW_PORT", "POST", "/hooks/agent"),
    ("OPENCODE_PORT", "POST", "/pty"),
    ("LLAMACPP_PORT", "GET", "/health"),
    ("LLAMACPP_PORT", "POST", "/v1/chat/completions"),
    ("MANAGER_PORT", "GET", "/api/health"),
];
/// The programs' own endpoints for events, by the port's setting.
const EVENTS: [(&str, &str); 2] =
    [("CONVEX_SITE_PORT", "/openclaw/event"), ("CONVEX_BACKEND_PORT", "/http/openclaw/event")];

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
    let door = |(setting, method, path): &(&str, &str, &str)| {
        anyhow::Ok(format!("{} {method} {path}", running.port(setting)?))
    };
    DOORS.iter().map(door).collect()
}

/// All must be refused without a sign-in, and contain no secret.
fn refused(running: &Running<'_>, output: &str) -> anyhow::Result<usize> {
    let answers: Vec<&str> = output.lines().filter_map(|line| line.strip_prefix("=> ")).collect();
    ensure!(
        answers.len() == DOORS.len() * 5,
        "{} answers instead of {}: {}",
        answers.len(),
        DOORS.len() * 5,
        start_of(output)
    );
    let wrong: Vec<&str> = answers.iter().copied().filter(|it| !it.starts_with("401 ")).collect();
    ensure!(wrong.is_empty(), "not refused: {}", wrong.join("; "));
    let leaked: Vec<&str> =
        needles(&running.secrets).iter().filter(|(_, value)| output.contains(value)).map(|it| it.0).collect();
    ensure!(leaked.is_empty(), "it gets {}", leaked.join(", "));
    Ok(answers.len())
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
    let endpoints = running.bench.stack.endpoints();
    let ports: anyhow::Result<Vec<u16>> = endpoints.map(|it| running.port(&it.setting)).collect();
    let closed: Vec<String> = ports?.iter().filter(|port| !open.contains(port)).map(u16::to_string).collect();
    ensure!(closed.is_empty(), "not open on IPv6: {}", closed.join(", "));
    Ok(format!("{} ports", open.len()))
}

async fn events(running: &Running<'_>) -> anyhow::Result<String> {
    let endpoints = || running.bench.stack.endpoints();
    for (setting, path) in EVENTS {
        let inner = endpoints().find(|it| it.setting == setting).and_then(|it| it.inner).context("no inner port")?;
        let url = format!("http://127.0.0.1:{inner}{path}");
        for header in ["X-Forwarded-For: 127.0.0.1", "Authorization: Bearer ", "Authorization: Bearer made-up"] {
            let curl = ["curl", "--silent", "--write-out", " %{http_code}", "--header", header, "--data", "{}", &url];
            let output = running.container.exec(&curl).await?;
            ensure!(output.ends_with(" 401"), "{url} with `{header}`: {}", start_of(&output));
        }
    }
    Ok("401 at both inner ports".to_owned())
}
