//! The client of `programs/prefixed.c`: length-prefixed messages over one connection, in an order,
//! of sizes and in pieces that a seed decides.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread::{scope, sleep};
use std::time::Duration;

use super::http::invalid;
use super::wait::ANSWER;

/// The longest message that the server takes.
pub const LONGEST: usize = 1 << 20;
/// The number of bytes of an answer: a length and a sum.
const ANSWER_BYTES: usize = 12;

/// Numbers that follow from a seed (SplitMix64).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Returns a number below `bound`.
    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }
}

/// Returns the sizes of a conversation: each power of two from 1 B to 1 MiB with both its
/// neighbours, and as many of any size, mixed.
#[must_use]
pub fn sizes(seed: u64) -> Vec<usize> {
    let mut numbers = Numbers(seed);
    let mut sizes = Vec::new();
    for power in 0..=LONGEST.ilog2() {
        let size = 1 << power;
        sizes.extend(
            [size - 1, size, size + 1].into_iter().filter(|size| (1..=LONGEST).contains(size)),
        );
        // Small sizes are as likely as large ones.
        sizes.push(1 + numbers.below(size));
    }
    for last in (1..sizes.len()).rev() {
        sizes.swap(last, numbers.below(last + 1));
    }
    sizes
}

/// Holds the conversation of a seed: all messages are sent, in pieces, while answers come.
///
/// # Errors
///
/// Returns an error if the connection breaks or an answer is not that of its message.
pub fn converse(address: SocketAddr, seed: u64) -> io::Result<()> {
    let stream = TcpStream::connect_timeout(&address, ANSWER)?;
    stream.set_read_timeout(Some(ANSWER))?;
    stream.set_write_timeout(Some(ANSWER))?;
    stream.set_nodelay(true)?;
    let sizes = sizes(seed);
    scope(|threads| {
        let sender = threads.spawn(|| send_all(&stream, &sizes, seed));
        let checked = check_all(&stream, &sizes, seed);
        if checked.is_err() {
            // The sender may wait for a server that has stopped reading.
            let _ = stream.shutdown(std::net::Shutdown::Both);
        }
        let sent = sender.join().expect("the sender");
        checked.and(sent)
    })
}

fn send_all(mut stream: &TcpStream, sizes: &[usize], seed: u64) -> io::Result<()> {
    let mut numbers = Numbers(!seed);
    for (index, size) in sizes.iter().enumerate() {
        let mut bytes = (*size as u32).to_be_bytes().to_vec();
        bytes.extend(message(seed, index, *size));
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            // Some messages come whole, some in pieces, which may cut the prefix as well.
            let piece = match numbers.below(4) {
                0 => rest.len(),
                1 => 1 + numbers.below(6),
                _ => 1 + numbers.below(100_000),
            };
            let (now, later) = rest.split_at(piece.min(rest.len()));
            stream.write_all(now)?;
            rest = later;
            if numbers.below(8) == 0 {
                sleep(Duration::from_micros(numbers.below(3000) as u64));
            }
        }
    }
    Ok(())
}

fn check_all(mut stream: &TcpStream, sizes: &[usize], seed: u64) -> io::Result<()> {
    for (index, size) in sizes.iter().enumerate() {
        let mut answer = [0; ANSWER_BYTES];
        stream.read_exact(&mut answer).map_err(|error| {
            let kind = error.kind();
            io::Error::new(kind, format!("message {index} of {size} bytes: {error}"))
        })?;
        let mut expected = (*size as u32).to_be_bytes().to_vec();
        expected.extend(sum(&message(seed, index, *size)).to_be_bytes());
        if answer[..] != expected[..] {
            let text = format!("message {index} of {size} bytes: {answer:x?}, not {expected:x?}");
            return Err(invalid(text));
        }
    }
    Ok(())
}

/// Returns the bytes of a message: no two places look alike.
fn message(seed: u64, index: usize, size: usize) -> Vec<u8> {
    let mut numbers = Numbers(seed ^ ((index as u64) << 32));
    let mut bytes = Vec::with_capacity(size + 8);
    while bytes.len() < size {
        bytes.extend(numbers.next().to_le_bytes());
    }
    bytes.truncate(size);
    bytes
}

/// Returns the FNV-1a hash, as the server computes it.
fn sum(bytes: &[u8]) -> u64 {
    let add = |sum: u64, byte: &u8| (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, add)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_seed_mixes_all_sizes() {
        let (one, two) = (sizes(1), sizes(2));
        assert_ne!(one, two);
        for sizes in [one, two] {
            assert!([1, 2, LONGEST - 1, LONGEST].iter().all(|size| sizes.contains(size)));
            assert!(sizes.iter().all(|size| (1..=LONGEST).contains(size)));
        }
    }

    #[test]
    fn the_sum_is_fnv_1a() {
        assert_eq!(sum(b"foobar"), 0x8594_4171_f739_67e8);
    }
}
