//! The client of `programs/racy.c`.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread::{scope, sleep};
use std::time::Duration;

use super::frozen::freeze;
use super::group::Group;
use super::wait::ANSWER;

/// How often a replica is stopped for a moment during requests.
const STOPS: u8 = 12;

/// Makes `requests` requests, one after the other, on each of `clients` connections at once, and
/// returns all answers of each client.
///
/// # Errors
///
/// Returns an error if a connection breaks or an answer belongs to another request.
pub fn ask(address: SocketAddr, clients: usize, requests: usize) -> io::Result<Vec<Vec<String>>> {
    ask_all(&[address], clients, requests)
}

/// Does the same as [`ask`], with the clients spread over `addresses`.
///
/// # Errors
///
/// Returns an error as [`ask`] does.
pub fn ask_all(
    addresses: &[SocketAddr],
    clients: usize,
    requests: usize,
) -> io::Result<Vec<Vec<String>>> {
    scope(|threads| {
        let handles: Vec<_> = (0..clients)
            .map(|client| {
                let address = addresses[client % addresses.len()];
                threads.spawn(move || one(address, client, requests))
            })
            .collect();
        handles.into_iter().map(|handle| handle.join().expect("a client")).collect()
    })
}

/// Makes requests at all replicas of a group, while one replica after the other is stopped for a
/// moment, and checks that no server made a call that crane does not cover. Returns all answers of
/// each client.
///
/// # Panics
///
/// Panics if a request fails, the replicas differ, or a call was not covered.
pub fn ask_between_stops(group: &Group, clients: usize, requests: usize) -> Vec<Vec<String>> {
    let answers = scope(|threads| {
        let clients = threads.spawn(|| ask_all(&group.all_addresses(), clients, requests));
        for stop in 0..STOPS {
            sleep(Duration::from_millis(40));
            let frozen = freeze(group, stop % 3 + 1);
            sleep(Duration::from_millis(20));
            drop(frozen);
        }
        clients.join().expect("the clients").expect("an answer to each request")
    });
    group.await_settled();
    for replica in group.status().expect("a status").servers() {
        assert_eq!(replica.uncovered_calls, 0, "replica {}: {:?}", replica.id, replica.notes);
    }
    answers
}

fn one(address: SocketAddr, client: usize, requests: usize) -> io::Result<Vec<String>> {
    let mut stream = TcpStream::connect_timeout(&address, ANSWER)?;
    stream.set_read_timeout(Some(ANSWER))?;
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut answers = Vec::with_capacity(requests);
    for request in 0..requests {
        let name = format!("client {client} request {request}");
        stream.write_all(format!("{name}\n").as_bytes())?;
        let mut answer = String::new();
        reader.read_line(&mut answer)?;
        if !answer.starts_with(&format!("{name} moved ")) || !answer.ends_with('\n') {
            return Err(super::http::invalid(format!("{name}: answered {answer:?}")));
        }
        answers.push(answer);
    }
    Ok(answers)
}
