//! Tests with real sockets on the loopback and without a server: the tests act as the driver.

use std::future::Future;
use std::rc::Rc;
use std::time::Duration;

use crane_core::limits::{DRAINED_STEP, RECEIVE_WINDOW};
use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::LocalSet;
use tokio::time::timeout;

use super::*;

/// A time limit far above that of any step.
const SOON: Duration = Duration::from_secs(20);

fn play<F: Future<Output = ()>>(scene: impl FnOnce(SocketAddr, Rc<ClientEvents>) -> F) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let scene = async {
        let client_events = Rc::new(ClientEvents::new());
        let listener = listen("127.0.0.1:0".parse().unwrap(), false, &client_events).unwrap();
        timeout(SOON, scene(listener.address, client_events)).await.expect("nothing hangs");
    };
    LocalSet::new().block_on(&runtime, scene);
}

/// Writes as the driver does: appends bytes, and sends them at the end of the pass.
fn write(conn: &ClientConn, bytes: &[u8]) {
    if conn.append(bytes) {
        conn.send();
    }
}

async fn connected(
    address: SocketAddr,
    client_events: &ClientEvents,
) -> (TcpStream, Rc<ClientConn>) {
    let client = TcpStream::connect(address).await.unwrap();
    let act = client_events.receive().await;
    assert_eq!(act.what, ClientAction::Connected);
    assert_eq!(act.conn.local, endpoint(address));
    assert_eq!(act.conn.peer, endpoint(client.local_addr().unwrap()));
    (client, act.conn)
}

#[test]
fn a_request_and_its_reply_go_through_and_both_sides_close() {
    play(|address, client_events| async move {
        let (mut client, conn) = connected(address, &client_events).await;
        client.write_all(b"question").await.unwrap();
        assert_eq!(client_events.receive().await.what, ClientAction::Sent(b"question".to_vec()));
        client.shutdown().await.unwrap();
        assert_eq!(client_events.receive().await.what, ClientAction::Shut);
        write(&conn, b"answer");
        conn.close();
        let mut reply = String::new();
        client.read_to_string(&mut reply).await.unwrap();
        assert_eq!(reply, "answer");
        assert_eq!(client_events.receive().await.what, ClientAction::Over);
    });
}

#[test]
fn no_more_than_the_window_is_taken_from_a_client() {
    play(|address, client_events| async move {
        let (mut client, conn) = connected(address, &client_events).await;
        let sender = spawn_local(async move {
            let sent = client.write_all(&vec![7; 3 * RECEIVE_WINDOW]).await;
            (client, sent)
        });
        let (mut taken, mut consumed) = (0, 0);
        while taken < 3 * RECEIVE_WINDOW {
            let ClientAction::Sent(bytes) = client_events.receive().await.what else {
                panic!("no bytes")
            };
            taken += bytes.len();
            assert!(taken - consumed <= RECEIVE_WINDOW, "{taken} taken, {consumed} consumed");
            if taken - consumed == RECEIVE_WINDOW {
                consumed = taken;
                conn.consumed(consumed as u64);
            }
        }
        sender.await.unwrap().1.unwrap();
    });
}

#[test]
fn a_client_that_resets_is_noticed_even_when_nothing_is_read_from_it() {
    play(|address, client_events| async move {
        let (mut client, _conn) = connected(address, &client_events).await;
        client.shutdown().await.unwrap();
        assert_eq!(client_events.receive().await.what, ClientAction::Shut);
        SockRef::from(&client).set_linger(Some(Duration::ZERO)).unwrap();
        drop(client);
        assert_eq!(client_events.receive().await.what, ClientAction::Gone);
        assert_eq!(client_events.receive().await.what, ClientAction::Over);
    });
}

#[test]
fn replies_count_as_drained_when_the_client_has_room_for_them() {
    play(|address, client_events| async move {
        let (mut client, conn) = connected(address, &client_events).await;
        let total = 64 * DRAINED_STEP;
        for _ in 0..64 {
            write(&conn, &vec![1; DRAINED_STEP]);
        }
        let reader = spawn_local(async move {
            let mut space = vec![0; total];
            client.read_exact(&mut space).await.unwrap();
            client
        });
        let mut drained = 0;
        while drained + (DRAINED_STEP as u64) <= total as u64 {
            let ClientAction::Drained(now) = client_events.receive().await.what else {
                panic!("not drained")
            };
            assert!(now >= drained + DRAINED_STEP as u64 && now <= total as u64);
            drained = now;
        }
        reader.await.unwrap();
    });
}

#[test]
fn a_reset_by_the_server_reaches_the_client() {
    play(|address, client_events| async move {
        let (mut client, conn) = connected(address, &client_events).await;
        write(&conn, b"half an answer");
        conn.reset();
        assert_eq!(client_events.receive().await.what, ClientAction::Over);
        drop(conn);
        let mut reply = Vec::new();
        let outcome = client.read_to_end(&mut reply).await;
        assert_eq!(outcome.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    });
}

#[test]
fn pieces_of_a_reply_wait_for_the_end_of_the_pass() {
    play(|address, client_events| async move {
        let (mut client, conn) = connected(address, &client_events).await;
        assert!(conn.append(b"first "), "the first piece asks for a send");
        assert!(!conn.append(b"second"), "one send is enough");
        let mut space = [0; 64];
        let early = timeout(Duration::from_millis(50), client.read(&mut space)).await;
        assert!(early.is_err(), "a piece left before the pass ended");
        conn.send();
        assert_eq!(client.read(&mut space).await.unwrap(), 12, "one packet holds both pieces");
    });
}
