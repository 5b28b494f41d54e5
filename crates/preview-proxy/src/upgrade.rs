//! Websockets: once both sides have agreed, bytes are passed both ways until either side ends.

use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::io::copy_bidirectional_with_sizes;
use tracing::debug;

/// Bytes of the buffer for each direction. Small: there are two for each of a thousand sockets.
const BUFFER: usize = 4 << 10;

/// Passes bytes between the two connections in a task of their own.
pub(crate) fn join(client: OnUpgrade, dev_server: OnUpgrade) {
    tokio::spawn(async move {
        let (client, dev_server) = match tokio::try_join!(client, dev_server) {
            Ok(both) => both,
            Err(error) => return debug!(%error, "an upgrade was not completed"),
        };
        if let Err(error) = pass(client, dev_server).await {
            // The usual end where a browser or the dev server goes away.
            debug!(%error, "a websocket broke off");
        }
    });
}

async fn pass(client: Upgraded, dev_server: Upgraded) -> std::io::Result<()> {
    let (mut client, mut dev_server) = (TokioIo::new(client), TokioIo::new(dev_server));
    copy_bidirectional_with_sizes(&mut client, &mut dev_server, BUFFER, BUFFER).await?;
    Ok(())
}
