//! Ports on the loopback interface.

use std::net::{Ipv4Addr, TcpListener};
use std::time::Duration;

use anyhow::ensure;
use tokio::net::TcpStream;

/// Below the range of ephemeral ports, so that no connection takes one.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

/// Returns `count` free ports.
pub(crate) fn free_ports(count: usize) -> anyhow::Result<Vec<u16>> {
    // Concurrent runs start at different ports.
    let start = fastrand::u16(PORTS);
    let is_free = |port: &u16| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok();
    let free: Vec<u16> = (start..PORTS.end).chain(PORTS.start..start).filter(is_free).take(count).collect();
    ensure!(free.len() == count, "there are no {count} free ports between {} and {}", PORTS.start, PORTS.end);
    Ok(free)
}

/// Whether something listens on the port within five seconds.
pub(crate) async fn listens(port: u16) -> bool {
    for _ in 0..50 {
        if TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.is_ok() {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    false
}
