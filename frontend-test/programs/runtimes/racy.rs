// The server of racy.c for Rust's standard library: answers depend on how its threads interleave.
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

const ROUNDS: u64 = 300;
static COUNTER: Mutex<u64> = Mutex::new(0);
static PLAIN: AtomicU64 = AtomicU64::new(0);

fn add() -> u64 {
    let mut counter = COUNTER.lock().expect("no thread panics");
    *counter += 1;
    *counter
}

fn serve(mut stream: TcpStream) -> std::io::Result<()> {
    let lines = BufReader::new(stream.try_clone()?).lines();
    for line in lines {
        let first = add();
        let mut last = first;
        for _ in 1..ROUNDS {
            // A race on purpose: an addition of another thread may be lost.
            let before = PLAIN.load(Ordering::Relaxed);
            thread::yield_now();
            PLAIN.store(before + 1, Ordering::Relaxed);
            last = add();
        }
        let sum = last + PLAIN.load(Ordering::Relaxed);
        stream.write_all(format!("{} moved {} to {sum}\n", line?, last - first).as_bytes())?;
    }
    Ok(())
}

fn main() {
    let port = std::env::args().nth(1).expect("a port");
    let listener = TcpListener::bind(format!("0.0.0.0:{port}")).expect("a listener");
    for stream in listener.incoming().flatten() {
        thread::spawn(move || serve(stream));
    }
}
