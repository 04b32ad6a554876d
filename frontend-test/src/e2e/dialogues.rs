//! Conversations of clients with servers that count: each request gets a number.

use std::io::{BufRead, BufReader, Lines, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

use super::healthy::connect;
use super::http;
use super::load;
use super::resp::{self, Reply};
use super::wait::ANSWER;

/// The requests behind which a server is asked about itself.
const ABOUT_EVERY: u64 = 100;
/// The requests between two orders to save.
const SAVE_EVERY: u64 = 20;

/// A connection of a client.
pub trait Dialogue {
    /// Makes one request, and returns its number.
    ///
    /// # Errors
    ///
    /// Returns the reason if there is no answer, or a wrong one.
    fn next(&mut self) -> Result<u64, String>;
}

/// Opens a connection.
pub type Open = fn(SocketAddr) -> Result<Box<dyn Dialogue>, String>;

/// Talks to a web server that answers with the number, or with text of which the last number in the
/// last line of numbers is it (nginx, `stub_status`).
///
/// # Errors
///
/// Returns the error of connecting.
pub fn http(address: SocketAddr) -> Result<Box<dyn Dialogue>, String> {
    let connection = http::Connection::open(address, ANSWER).map_err(|error| error.to_string())?;
    Ok(Box::new(Web(connection)))
}

struct Web(http::Connection);

impl Dialogue for Web {
    fn next(&mut self) -> Result<u64, String> {
        let reply = self.0.get("/").map_err(|error| error.to_string())?;
        let text = String::from_utf8_lossy(&reply.body);
        let is_number = |word: &str| word.bytes().all(|byte| byte.is_ascii_digit());
        let mut lines = text.lines().rev().filter(|line| !line.trim().is_empty());
        let line = lines.find(|line| line.split_whitespace().all(is_number));
        number(line.and_then(|line| line.split_whitespace().last()).unwrap_or(&text))
    }
}

/// Talks to a web server that answers with the number, on a connection for each request.
///
/// # Errors
///
/// Returns no error.
pub fn pages(address: SocketAddr) -> Result<Box<dyn Dialogue>, String> {
    Ok(Box::new(Pages(address)))
}

struct Pages(SocketAddr);

impl Dialogue for Pages {
    fn next(&mut self) -> Result<u64, String> {
        http(self.0)?.next()
    }
}

/// Talks to redis, and asks about itself now and then.
///
/// # Errors
///
/// Returns the error of connecting.
pub fn redis(address: SocketAddr) -> Result<Box<dyn Dialogue>, String> {
    let connection = resp::Connection::open(address, ANSWER).map_err(|error| error.to_string())?;
    Ok(Box::new(Redis { connection, requests: 0, saves: false }))
}

/// Talks to redis as [`redis`] does, and has it save in the background now and then, by a process
/// for each time.
///
/// # Errors
///
/// Returns the error of connecting.
pub fn saving_redis(address: SocketAddr) -> Result<Box<dyn Dialogue>, String> {
    let connection = resp::Connection::open(address, ANSWER).map_err(|error| error.to_string())?;
    Ok(Box::new(Redis { connection, requests: 0, saves: true }))
}

struct Redis {
    connection: resp::Connection,
    requests: u64,
    saves: bool,
}

impl Dialogue for Redis {
    fn next(&mut self) -> Result<u64, String> {
        self.requests += 1;
        if self.requests.is_multiple_of(ABOUT_EVERY) {
            let about = self.connection.call(&[b"INFO"]).map_err(|error| error.to_string())?;
            let Reply::Bulk(Some(text)) = &about else { return Err(format!("{about:?}")) };
            let text = String::from_utf8_lossy(text);
            if !text.contains("used_cpu_user:") {
                return Err(format!("INFO: {text}"));
            }
        }
        if self.saves && self.requests % SAVE_EVERY == 1 {
            let order: &[u8] =
                if self.requests % (2 * SAVE_EVERY) == 1 { b"BGSAVE" } else { b"BGREWRITEAOF" };
            // Another client may have ordered it just now.
            match self.connection.call(&[order]) {
                Ok(Reply::Simple(_)) => {}
                Err(error)
                    if ["in progress", "active"]
                        .iter()
                        .any(|it| error.to_string().contains(it)) => {}
                other => return Err(format!("{other:?}")),
            }
        }
        match self.connection.call(&[b"INCR", b"count"]) {
            Ok(Reply::Number(count)) => u64::try_from(count).map_err(|error| error.to_string()),
            other => Err(format!("{other:?}")),
        }
    }
}

/// Talks to memcached, and asks about itself now and then.
///
/// # Errors
///
/// Returns the error of connecting.
pub fn memcached(address: SocketAddr) -> Result<Box<dyn Dialogue>, String> {
    let stream = connect(address).map_err(|error| error.to_string())?;
    Ok(Box::new(Memcached { stream: BufReader::new(stream), requests: 0 }))
}

struct Memcached {
    stream: BufReader<TcpStream>,
    requests: u64,
}

impl Memcached {
    fn ask(&mut self, line: &str) -> Result<String, String> {
        self.stream.get_mut().write_all(line.as_bytes()).map_err(|error| error.to_string())?;
        self.line()
    }

    fn line(&mut self) -> Result<String, String> {
        let mut line = String::new();
        self.stream.read_line(&mut line).map_err(|error| error.to_string())?;
        line.strip_suffix("\r\n").map(str::to_owned).ok_or_else(|| format!("closed: {line:?}"))
    }
}

impl Dialogue for Memcached {
    fn next(&mut self) -> Result<u64, String> {
        self.requests += 1;
        if self.requests.is_multiple_of(ABOUT_EVERY) {
            let mut line = self.ask("stats\r\n")?;
            let mut lines = 0;
            while line != "END" {
                if !line.starts_with("STAT ") {
                    return Err(line);
                }
                lines += 1;
                line = self.line()?;
            }
            if lines < 30 {
                return Err(format!("stats of {lines} lines"));
            }
        }
        match self.ask("incr count 1\r\n")?.as_str() {
            "NOT_FOUND" => {}
            count => return number(count),
        }
        // The first one, or not the first.
        match self.ask("add count 0 0 1\r\n1\r\n")?.as_str() {
            "STORED" => Ok(1),
            _ => number(&self.ask("incr count 1\r\n")?),
        }
    }
}

/// Talks to PostgreSQL as user `app`, who needs no password (its documentation, Frontend/Backend
/// Protocol).
///
/// # Errors
///
/// Returns the error of connecting, or the server's.
pub fn postgresql(address: SocketAddr) -> Result<Box<dyn Dialogue>, String> {
    let stream = connect(address).map_err(|error| error.to_string())?;
    let mut dialogue = PostgreSql(BufReader::new(stream));
    let mut hello = 196_608_u32.to_be_bytes().to_vec();
    hello.extend_from_slice(b"user\0app\0database\0postgres\0\0");
    dialogue.send(None, &hello)?;
    dialogue.answer()?;
    // All clients make it at first: one of them has done so then.
    let _ = dialogue.query("create table if not exists c (n bigint)");
    let one = "insert into c select 0 where not exists (select from c)";
    let locked = format!("begin; lock table c; {one}; commit");
    dialogue.query(&locked)?;
    Ok(Box::new(dialogue))
}

struct PostgreSql(BufReader<TcpStream>);

impl PostgreSql {
    fn send(&mut self, kind: Option<u8>, body: &[u8]) -> Result<(), String> {
        let mut message: Vec<u8> = kind.into_iter().collect();
        message.extend_from_slice(&(body.len() as u32 + 4).to_be_bytes());
        message.extend_from_slice(body);
        self.0.get_mut().write_all(&message).map_err(|error| error.to_string())
    }

    /// Reads up to the server's readiness. Returns the last row's first field.
    fn answer(&mut self) -> Result<String, String> {
        let (mut field, mut fault) = (String::new(), None);
        loop {
            let mut head = [0; 5];
            self.0.read_exact(&mut head).map_err(|error| error.to_string())?;
            let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
            let mut body = vec![0; length.checked_sub(4).ok_or("a length")?];
            self.0.read_exact(&mut body).map_err(|error| error.to_string())?;
            match head[0] {
                b'Z' => return fault.map_or(Ok(field), Err),
                b'E' => fault = Some(String::from_utf8_lossy(&body).replace('\0', " ")),
                // The number of fields, and the length of the first.
                b'D' => field = String::from_utf8_lossy(&body[6..]).into_owned(),
                _ => {}
            }
        }
    }

    fn query(&mut self, text: &str) -> Result<String, String> {
        self.send(Some(b'Q'), &[text.as_bytes(), b"\0"].concat())?;
        self.answer()
    }
}

impl Dialogue for PostgreSql {
    fn next(&mut self) -> Result<u64, String> {
        number(&self.query("update c set n = n + 1 returning n")?)
    }
}

/// Talks to MariaDB by its client, with what differs from one server to another in each row.
///
/// # Errors
///
/// Returns what the client says.
pub fn mariadb(address: SocketAddr) -> Result<Box<dyn Dialogue>, String> {
    load::mariadb(
        address,
        "create database if not exists d; \
         create table if not exists d.count (id int primary key, count bigint); \
         insert ignore into d.count values (1, 0); \
         create table if not exists d.t (id int auto_increment primary key, \
         made timestamp(6) default now(6), number double default rand(), \
         word varchar(40) default uuid())",
    )?;
    let mut client = load::mariadb_client(address)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| format!("mariadb: {error}"))?;
    let questions = client.stdin.take().expect("a pipe");
    let answers = BufReader::new(client.stdout.take().expect("a pipe")).lines();
    Ok(Box::new(Database { client, questions, answers }))
}

struct Database {
    client: Child,
    questions: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Dialogue for Database {
    fn next(&mut self) -> Result<u64, String> {
        const ONE: &str = "update d.count set count = last_insert_id(count + 1); \
                           select last_insert_id(); insert into d.t (id) values (null);\n";
        self.questions.write_all(ONE.as_bytes()).map_err(|error| error.to_string())?;
        match self.answers.next() {
            Some(Ok(line)) => number(&line),
            Some(Err(error)) => Err(error.to_string()),
            None => Err("the client has ended".into()),
        }
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let _ = self.client.kill();
        let _ = self.client.wait();
    }
}

/// Talks to a server of files (RFC 959) as a guest, whose requests make folders with numbers for
/// names.
///
/// # Errors
///
/// Returns the error of connecting, or the server's.
pub fn ftp(address: SocketAddr) -> Result<Box<dyn Dialogue>, String> {
    let stream = connect(address).map_err(|error| error.to_string())?;
    let mut dialogue = Ftp { stream: BufReader::new(stream), last: 0 };
    dialogue.expect("", 220)?;
    dialogue.expect("USER anonymous", 230)?;
    // The folders that exist have the lowest numbers.
    let (mut below, mut above) = (0, 1);
    while dialogue.exists(above)? {
        (below, above) = (above, 2 * above);
    }
    while above - below > 1 {
        let middle = below.midpoint(above);
        if dialogue.exists(middle)? { below = middle } else { above = middle }
    }
    dialogue.last = below;
    Ok(Box::new(dialogue))
}

struct Ftp {
    stream: BufReader<TcpStream>,
    /// A number of a folder that exists, as do all below it.
    last: u64,
}

impl Ftp {
    /// Sends a line, unless it is empty, and returns the code of the answer.
    fn ask(&mut self, line: &str) -> Result<u16, String> {
        if !line.is_empty() {
            let line = format!("{line}\r\n");
            self.stream.get_mut().write_all(line.as_bytes()).map_err(|error| error.to_string())?;
        }
        loop {
            let mut answer = String::new();
            self.stream.read_line(&mut answer).map_err(|error| error.to_string())?;
            // Others are in the middle of an answer of several lines.
            if let Some((code, _)) = answer.split_once(' ')
                && code.len() == 3
            {
                return code.parse().map_err(|_| answer);
            } else if answer.is_empty() {
                return Err("closed".into());
            }
        }
    }

    fn expect(&mut self, line: &str, wanted: u16) -> Result<(), String> {
        let code = self.ask(line)?;
        if code == wanted { Ok(()) } else { Err(format!("{line:?}: {code}")) }
    }

    fn exists(&mut self, number: u64) -> Result<bool, String> {
        Ok(self.ask(&format!("CWD /made/{number}"))? == 250)
    }
}

impl Dialogue for Ftp {
    fn next(&mut self) -> Result<u64, String> {
        loop {
            self.last += 1;
            let last = self.last;
            match self.ask(&format!("MKD /made/{last}"))? {
                257 => return Ok(last),
                // Another client has made it.
                550 if self.exists(last)? => {}
                code => return Err(format!("MKD {last}: {code}")),
            }
        }
    }
}

fn number(text: &str) -> Result<u64, String> {
    text.trim().parse().map_err(|_| format!("not a number: {text:?}"))
}
