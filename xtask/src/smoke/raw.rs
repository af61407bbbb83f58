//! HTTP/1.1 as bytes: a client that sends exactly what it is given. A URL library would mend what an attack is made of.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::running::start_of;

/// A server that says nothing for so long has nothing more to say.
const SILENCE: Duration = Duration::from_secs(5);
const LONGEST: usize = 256 * 1024;

/// What came back.
#[derive(Debug, Default)]
pub(super) struct Reply {
    /// 0 when the connection was closed without an answer.
    pub(super) status: u16,
    /// All of it, with every further answer on the same connection.
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

    /// The first header of that name.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let (head, _) = self.text.split_once("\r\n\r\n")?;
        head.lines().skip(1).find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    pub(super) fn told(&self) -> String {
        if self.text.is_empty() { "nothing".to_owned() } else { start_of(&self.text) }
    }
}

/// One exchange on a connection of its own. A request that asks to close is answered until the connection ends.
pub(super) async fn send(address: SocketAddr, bytes: &[u8]) -> anyhow::Result<Reply> {
    send_patiently(address, bytes, SILENCE).await
}

/// The same with a server that may say nothing for so long.
pub(super) async fn send_patiently(address: SocketAddr, bytes: &[u8], silence: Duration) -> anyhow::Result<Reply> {
    let mut stream = TcpStream::connect(address).await.with_context(|| format!("cannot connect to {address}"))?;
    // A server may refuse and close before it has read everything.
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

/// Whether nothing more is to be waited for: a protocol was changed, or the body has its length.
fn is_whole(read: &[u8]) -> bool {
    let text = String::from_utf8_lossy(read);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let head = head.to_ascii_lowercase();
    let status = head.split(' ').nth(1).unwrap_or_default();
    if matches!(status, "101" | "204" | "304") {
        return true;
    }
    // Asked to close, it may still answer what else it found in the bytes.
    if head.contains("\r\nconnection: close") {
        return false;
    }
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
    length.is_some_and(|length| body.len() >= length) || body.ends_with("0\r\n\r\n")
}

/// A request as it is written in tables: `|` ends a line. A body after the empty line is sent as it is; `{LENGTH}` is
/// its length.
pub(super) fn request(text: &str, values: &[(&str, &str)]) -> Vec<u8> {
    let mut text =
        values.iter().fold(text.to_owned(), |text, (name, value)| text.replace(&format!("{{{name}}}"), value));
    if !text.contains("||") {
        text.push_str("||");
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
        assert_eq!(request("GET /a\\b HTTP/1.1|Host: {HOST}", &values), b"GET /a\\b HTTP/1.1\r\nHost: h:1\r\n\r\n");
        let post = "POST / HTTP/1.1|Host: {HOST}|Content-Length: {LENGTH}||{\"a\":1}";
        let sent = b"POST / HTTP/1.1\r\nHost: h:1\r\nContent-Length: 7\r\n\r\n{\"a\":1}";
        assert_eq!(request(post, &values), sent);
    }

    #[test]
    fn an_answer_is_taken_apart() {
        let reply = Reply::parse("HTTP/1.1 303 See Other\r\nLocation: /a\r\nX: 1\r\n\r\nbody".to_owned());
        assert_eq!((reply.status, reply.header("location"), reply.body()), (303, Some("/a"), "body"));
        assert_eq!(Reply::parse(String::new()).status, 0);
        assert!(is_whole(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab"));
        assert!(!is_whole(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab"));
        assert!(!is_whole(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nab"));
        assert!(is_whole(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n"));
    }
}
