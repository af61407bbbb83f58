//! A server that answers correctly, and then injects a network fault into the answer.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    Delay,
    /// Half of it, then silence.
    Stall,
    /// Half of it, then the connection is closed.
    Cut,
    Corrupt,
    /// The first request is refused for a second.
    Throttle,
    /// Every request is refused for an hour.
    ThrottleForLong,
    Redirect,
    Loop,
    /// Its Content-Length is half its length.
    Understated,
    /// Its Content-Length is twice its length.
    Overstated,
    /// The second request gets another file.
    Swap,
    /// That many failures, then success.
    Fail(usize),
    /// A captive portal's page.
    Page,
    /// Sent slowly.
    Trickle,
}

pub(crate) const ALL: [Fault; 14] = [
    Fault::Delay,
    Fault::Stall,
    Fault::Cut,
    Fault::Corrupt,
    Fault::Throttle,
    Fault::ThrottleForLong,
    Fault::Redirect,
    Fault::Loop,
    Fault::Understated,
    Fault::Overstated,
    Fault::Swap,
    Fault::Fail(2),
    Fault::Fail(usize::MAX),
    Fault::Page,
];

#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) method: String,
    /// With its query.
    pub(crate) path: String,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
}

#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) kind: String,
    pub(crate) body: Vec<u8>,
}

pub(crate) type World = Arc<dyn Fn(&Request) -> Answer + Send + Sync>;

/// Serves until the test ends; returns its URL.
pub(crate) fn start(world: World, fault: Fault) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let asked = Arc::new(Mutex::new(BTreeMap::<String, usize>::new()));
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (world, asked) = (Arc::clone(&world), Arc::clone(&asked));
            std::thread::spawn(move || serve(stream, &world, fault, &asked));
        }
    });
    address
}

fn serve(mut stream: TcpStream, world: &World, fault: Fault, asked: &Mutex<BTreeMap<String, usize>>) -> Option<()> {
    let mut request = read(&mut stream)?;
    let count = |what: &str| {
        let mut asked = asked.lock().unwrap();
        let count = asked.entry(what.to_owned()).or_default();
        *count += 1;
        *count - 1
    };
    let (all, this) = (count("all"), count(&request.path));
    let path = request.path.clone();
    path.strip_prefix("/moved").unwrap_or(&path).clone_into(&mut request.path);
    let mut answer = world(&request);
    let mut more = String::new();
    let mut length = None;
    let mut sent = usize::MAX;
    match fault {
        Fault::Delay => std::thread::sleep(Duration::from_millis(300)),
        Fault::Stall | Fault::Cut => sent = answer.body.len() / 2,
        Fault::Corrupt => corrupt(&mut answer.body),
        Fault::Throttle if all > 0 => {}
        Fault::Throttle | Fault::ThrottleForLong => {
            answer.status = 429;
            more = format!("retry-after: {}\r\n", if fault == Fault::Throttle { 1 } else { 3600 });
        }
        Fault::Redirect if path.starts_with("/moved") => {}
        Fault::Redirect | Fault::Loop => {
            answer.status = 302;
            let to = if fault == Fault::Loop { path } else { format!("/moved{path}") };
            more = format!("location: http://{}{to}\r\n", stream.local_addr().ok()?);
        }
        Fault::Understated => length = Some(answer.body.len() / 2),
        Fault::Overstated => length = Some(answer.body.len() * 2),
        Fault::Swap if this > 0 => corrupt(&mut answer.body),
        Fault::Fail(times) if all < times => answer.status = 500,
        Fault::Swap | Fault::Fail(_) | Fault::Trickle => {}
        Fault::Page => {
            let body = b"<!DOCTYPE html><title>Sign in to the company</title>".to_vec();
            answer = Answer { status: 200, kind: "text/html".to_owned(), body };
        }
    }
    let Answer { status, kind, body } = answer;
    let length = length.unwrap_or(body.len());
    let head = format!(
        "HTTP/1.1 {status} X\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\n{more}connection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).ok()?;
    for chunk in body[..sent.min(body.len())].chunks(4096) {
        if fault == Fault::Trickle {
            std::thread::sleep(Duration::from_millis(5));
        }
        stream.write_all(chunk).ok()?;
    }
    if fault == Fault::Stall {
        // Until the client gives up.
        let _ = stream.read(&mut [0]);
    }
    Some(())
}

fn corrupt(body: &mut [u8]) {
    for byte in body.iter_mut().take(16) {
        *byte ^= 0x80;
    }
}

fn read(stream: &mut TcpStream) -> Option<Request> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        if stream.read(&mut byte).ok()? == 0 {
            return None;
        }
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).ok()?;
    let mut lines = head.lines();
    let mut words = lines.next()?.split(' ');
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let headers: BTreeMap<String, String> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
        .collect();
    let mut body = vec![0; headers.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(0)];
    stream.read_exact(&mut body).ok()?;
    Some(Request { method, path, headers, body })
}
