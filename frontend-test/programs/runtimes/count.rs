//! Counts requests by a pool of threads that contend for locks: each answer is the next number.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, RwLock, mpsc};
use std::thread;

#[derive(Default)]
struct Shared {
    count: Mutex<u64>,
    moved: Condvar,
    rounds: RwLock<u64>,
}

impl Shared {
    fn next(&self) -> u64 {
        for _ in 0..50 {
            *self.rounds.write().unwrap() += 1;
            thread::yield_now();
        }
        let mut count = self.count.lock().unwrap();
        *count += 1;
        self.moved.notify_all();
        *count
    }
}

fn serve(stream: TcpStream, shared: &Shared) -> std::io::Result<()> {
    let mut out = stream.try_clone()?;
    let mut lines = BufReader::new(stream).lines();
    while let Some(line) = lines.next().transpose()? {
        if line.is_empty() {
            let body = format!("{}\n", shared.next());
            let length = body.len();
            write!(out, "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{body}")?;
        }
    }
    Ok(())
}

fn main() {
    let port: u16 = std::env::args().nth(1).unwrap().parse().unwrap();
    let listener = TcpListener::bind(("0.0.0.0", port)).unwrap();
    let shared = Arc::new(Shared::default());
    let (sender, receiver) = mpsc::channel::<TcpStream>();
    let receiver = Arc::new(Mutex::new(receiver));
    for _ in 0..8 {
        let (shared, receiver) = (shared.clone(), receiver.clone());
        thread::spawn(move || {
            loop {
                let stream = receiver.lock().unwrap().recv().unwrap();
                let _ = serve(stream, &shared);
            }
        });
    }
    for stream in listener.incoming() {
        sender.send(stream.unwrap()).unwrap();
    }
}
