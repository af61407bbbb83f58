//! HTTP/1.1 as bytes: a client that sends exactly the given request. An HTTP library would normalize attacks.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::running::{Running, start_of};

/// A response counts as complete after this silence.
const SILENCE: Duration = Duration::from_secs(5);
const LONGEST: usize = 256 * 1024;
const VISIT: &str = "Sec-Fetch-Mode: navigate|Sec-Fetch-Dest: document";

#[derive(Debug, Default)]
pub(super) struct Reply {
    /// 0 if the connection was closed without a response.
    pub(super) status: u16,
    /// All bytes, with all further responses on the same connection.
    pub(super) text: String,
}

impl Reply {
    fn parse(text: String) -> Self {
        let status = text.strip_prefix("HTTP/1.").and_then(|rest| rest.get(2..5)?.parse().ok()).unwrap_or_default();
        Self { status, text }
    }

    pub(super) fn body(&self) -> &str {
        self.text.split_once("\r\n\r\n").map_or("", |(_, body)| body)
    }

    /// The first header with that name.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let (head, _) = self.text.split_once("\r\n\r\n")?;
        head.lines().skip(1).find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    pub(super) fn summary(&self) -> String {
        if self.text.is_empty() { "nothing".to_owned() } else { start_of(&self.text) }
    }
}

/// Sends a request on a new connection. With `Connection: close`, reads until the connection ends.
pub(super) async fn send(address: SocketAddr, bytes: &[u8]) -> anyhow::Result<Reply> {
    send_patiently(address, bytes, SILENCE).await
}

/// Like [`send`], for a server that may be silent for that long.
pub(super) async fn send_patiently(address: SocketAddr, bytes: &[u8], silence: Duration) -> anyhow::Result<Reply> {
    let mut stream = TcpStream::connect(address).await.with_context(|| format!("cannot connect to {address}"))?;
    // A server may refuse and close before it has read all.
    let _ = stream.write_all(bytes).await;
    let mut read = Vec::new();
    while read.len() < LONGEST && !is_whole(&read) {
        match tokio::time::timeout(silence, stream.read_buf(&mut read)).await {
            Ok(Ok(count)) if count > 0 => {}
            _ => break,
        }
    }
    Ok(Reply::parse(String::from_utf8_lossy(&read).into_owned()))
}

/// Whether the response is complete: the protocol has changed, or the body has its length.
fn is_whole(read: &[u8]) -> bool {
    let text = String::from_utf8_lossy(read);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let head = head.to_ascii_lowercase();
    let status = head.split(' ').nth(1).unwrap_or_default();
    if matches!(status, "101" | "204" | "304") {
        return true;
    }
    // With `Connection: close`, further responses to the same bytes may follow.
    if head.contains("\r\nconnection: close") {
        return false;
    }
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
    length.is_some_and(|length| body.len() >= length) || body.ends_with("0\r\n\r\n")
}

/// Sends a request to a port, in the form of [`request`].
pub(super) async fn ask(running: &Running<'_>, setting: &str, text: &str) -> anyhow::Result<Reply> {
    send(running.address(setting)?, &request(running, setting, text)?).await
}

/// Builds a request to a port in the form of [`written`]. Placeholders: HOST and PORT of the port, OTHER for the port of
/// another service, VISIT for the headers of a navigation.
pub(super) fn request(running: &Running<'_>, setting: &str, text: &str) -> anyhow::Result<Vec<u8>> {
    let address = running.address(setting)?;
    let other = running.settings().find(|it| *it != setting).context("there is one port only")?;
    let (host, port, other) = (address.to_string(), address.port().to_string(), running.port(other)?.to_string());
    Ok(written(text, &[("HOST", &host), ("PORT", &port), ("OTHER", &other), ("VISIT", VISIT)]))
}

/// Builds a request from its form in tables: `|` ends a line. A first line without a version gets HTTP/1.1, and a Host
/// after it. A body after the empty line is sent unchanged; `{LENGTH}` is its length.
pub(super) fn written(text: &str, values: &[(&str, &str)]) -> Vec<u8> {
    let (first, rest) = text.split_at(text.find('|').unwrap_or(text.len()));
    let usual = if first.contains(" HTTP/") { "" } else { " HTTP/1.1|Host: {HOST}" };
    let mut text = [first, usual, rest].concat();
    for (name, value) in values {
        text = text.replace(&format!("{{{name}}}"), value);
    }
    let (head, body) = text.split_once("||").unwrap_or((&text, ""));
    format!("{}\r\n\r\n{body}", head.replace("{LENGTH}", &body.len().to_string()).replace('|', "\r\n")).into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_sent_as_it_is_written() {
        let values = [("HOST", "h:1")];
        assert_eq!(written("GET /a\\b", &values), b"GET /a\\b HTTP/1.1\r\nHost: h:1\r\n\r\n");
        assert_eq!(written("GET / HTTP/1.0|Host: a", &values), b"GET / HTTP/1.0\r\nHost: a\r\n\r\n");
        let post = "POST / HTTP/1.1|Host: {HOST}|Content-Length: {LENGTH}||{\"a\":1}";
        let sent = b"POST / HTTP/1.1\r\nHost: h:1\r\nContent-Length: 7\r\n\r\n{\"a\":1}";
        assert_eq!(written(post, &values), sent);
    }

    #[test]
    fn a_response_is_parsed() {
        let reply = Reply::parse("HTTP/1.1 303 See Other\r\nLocation: /a\r\nX: 1\r\n\r\nbody".to_owned());
        assert_eq!((reply.status, reply.header("location"), reply.body()), (303, Some("/a"), "body"));
        assert_eq!(Reply::parse(String::new()).status, 0);
        assert!(is_whole(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab"));
        assert!(!is_whole(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab"));
        assert!(!is_whole(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nab"));
        assert!(is_whole(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n"));
    }
}
