//! The service behind the demo target: a TCP listener of its own that answers one word, and that can be taken away, so that
//! callers are really refused.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

const ANSWER: &[u8] = b"ok\n";
const PATIENCE: Duration = Duration::from_millis(500);

/// Opens the dependency on a free port.
pub(super) async fn bind() -> io::Result<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await
}

/// Serves until `down`, then closes the port, and comes back on the same one when it is over. Ends when the switch is gone.
pub(super) async fn serve(listener: TcpListener, address: SocketAddr, mut down: watch::Receiver<bool>) {
    let mut listener = Some(listener);
    loop {
        let is_down = *down.borrow_and_update();
        if is_down {
            listener = None;
        } else if listener.is_none() {
            listener = TcpListener::bind(address).await.inspect_err(|error| tracing::warn!(%address, %error, "dependency")).ok();
        }
        tokio::select! {
            () = answer_all(listener.as_ref()) => {}
            changed = down.changed() => if changed.is_err() { return },
        }
    }
}

/// Answers callers one after the other; with no listener nobody calls, and a failed bind is tried again after a while.
async fn answer_all(listener: Option<&TcpListener>) {
    let Some(listener) = listener else { return tokio::time::sleep(PATIENCE).await };
    loop {
        if let Ok((mut stream, _)) = listener.accept().await
            && let Err(error) = stream.write_all(ANSWER).await
        {
            tracing::debug!(%error, "dependency: the caller is gone");
        }
    }
}

/// Calls the dependency.
pub(super) async fn call(address: SocketAddr) -> io::Result<()> {
    let talk = async {
        let mut stream = TcpStream::connect(address).await?;
        let mut answer = [0_u8; ANSWER.len()];
        stream.read_exact(&mut answer).await.map(drop)
    };
    tokio::time::timeout(PATIENCE, talk).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}
