//! Ports of this machine's loopback.

use std::net::{Ipv4Addr, TcpListener};
use std::time::Duration;

use anyhow::ensure;
use tokio::net::TcpStream;

/// Below the range that connections take their ports from, so that none has one of ours.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

/// So many ports that nobody has now.
pub(crate) fn free_ports(count: usize) -> anyhow::Result<Vec<u16>> {
    // Two runs at once begin at different places.
    let start = fastrand::u16(PORTS);
    let is_free = |port: &u16| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok();
    let free: Vec<u16> = (start..PORTS.end).chain(PORTS.start..start).filter(is_free).take(count).collect();
    ensure!(free.len() == count, "{count} free ports are needed between {} and {}", PORTS.start, PORTS.end);
    Ok(free)
}

/// Whether a program that was just started listens, within five seconds.
pub(crate) async fn listens(port: u16) -> bool {
    for _ in 0..50 {
        if TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.is_ok() {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    false
}
