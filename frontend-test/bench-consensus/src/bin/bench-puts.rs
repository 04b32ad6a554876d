//! Puts against three replicas that a script has started: `bench-puts etcd|redis CLIENTS SECONDS
//! ADDRESS…`
//!
//! Each client waits for its answer before its next put. Clients are spread over the addresses.
//! Prints the puts per second and the median time in microseconds.

use std::time::{Duration, Instant};

use etcd_client::Client;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const VALUE: [u8; 64] = [b'v'; 64];

async fn put_to_etcd(address: String, client: usize, end: Instant) -> Vec<Duration> {
    let mut server = Client::connect([address], None).await.expect("etcd answers");
    let mut times = Vec::new();
    while Instant::now() < end {
        let start = Instant::now();
        let key = format!("key-{client}-{}", times.len() % 1000);
        server.put(key, VALUE, None).await.expect("etcd takes a put");
        times.push(start.elapsed());
    }
    times
}

async fn put_to_redis(address: String, client: usize, end: Instant) -> Vec<Duration> {
    let mut server = TcpStream::connect(address).await.expect("redis answers");
    server.set_nodelay(true).expect("a socket");
    let mut times = Vec::new();
    while Instant::now() < end {
        let start = Instant::now();
        let key = format!("key-{client}-{}", times.len() % 1000);
        let mut request = format!("*3\r\n$3\r\nSET\r\n${}\r\n{key}\r\n$64\r\n", key.len());
        request.push_str(std::str::from_utf8(&VALUE).expect("text"));
        request.push_str("\r\n");
        server.write_all(request.as_bytes()).await.expect("redis reads");
        let mut answer = [0; 5];
        server.read_exact(&mut answer).await.expect("redis answers");
        assert_eq!(&answer, b"+OK\r\n");
        times.push(start.elapsed());
    }
    times
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [kind, clients, seconds, addresses @ ..] = words.as_slice() else {
        eprintln!("usage: bench-puts etcd|redis CLIENTS SECONDS ADDRESS…");
        std::process::exit(2);
    };
    let clients: usize = clients.parse().expect("a number of clients");
    let seconds: u64 = seconds.parse().expect("a number of seconds");
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut tasks = Vec::new();
    for client in 0..clients {
        let address = addresses[client % addresses.len()].clone();
        tasks.push(match kind.as_str() {
            "etcd" => tokio::spawn(put_to_etcd(address, client, end)),
            _ => tokio::spawn(put_to_redis(address, client, end)),
        });
    }
    let mut times = Vec::new();
    for task in tasks {
        times.extend(task.await.expect("a client ends"));
    }
    times.sort();
    println!("{} {}", times.len() as u64 / seconds, times[times.len() / 2].as_micros());
}
