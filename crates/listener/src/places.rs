use std::net::IpAddr;
use std::sync::Arc;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use crate::Limits;

/// Part of the places (one in so many) below which idle connections are closed to make room.
const SCARCE: usize = 8;

/// The places that connections take, and what makes room among them.
#[derive(Debug, Clone)]
pub(crate) struct Places {
    shared: Arc<Semaphore>,
    loopback: Arc<Semaphore>,
    scarce: usize,
    /// Wakes the connection that has been idle for the longest time.
    evict: Arc<Notify>,
}

/// One connection's place; free again when it is dropped.
pub(crate) type Place = OwnedSemaphorePermit;

impl Places {
    pub(crate) fn new(limits: &Limits) -> Places {
        let shared = limits.connections.saturating_sub(limits.loopback_connections);
        Places {
            shared: Arc::new(Semaphore::new(shared)),
            loopback: Arc::new(Semaphore::new(limits.loopback_connections)),
            scarce: shared / SCARCE,
            evict: Arc::default(),
        }
    }

    /// A place for a connection from `peer`, where there is one. Closes an idle connection where few are left.
    pub(crate) fn take(&self, peer: IpAddr) -> Option<Place> {
        let is_loopback = peer.to_canonical().is_loopback();
        let place = self.shared.clone().try_acquire_owned();
        if self.shared.available_permits() <= self.scarce {
            self.evict.notify_one();
        }
        match place {
            Ok(place) => Some(place),
            Err(_) if is_loopback => self.loopback.clone().try_acquire_owned().ok(),
            Err(_) => None,
        }
    }

    /// Resolves for one waiting connection at a time, the first that waits, when room is needed.
    pub(crate) async fn evicted(&self) {
        self.evict.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_keeps_places_when_others_are_full() {
        let limits = Limits { connections: 3, loopback_connections: 1, ..Limits::default() };
        let places = Places::new(&limits);
        let (remote, local) = (IpAddr::from([192, 0, 2, 1]), IpAddr::from([127, 0, 0, 1]));
        let taken = [places.take(remote), places.take(remote)];
        assert!(taken.iter().all(Option::is_some));
        assert!(places.take(remote).is_none());
        let mapped: IpAddr = "::ffff:127.0.0.1".parse().expect("an address");
        let own = places.take(mapped);
        assert!(own.is_some());
        assert!(places.take(local).is_none());
        drop(own);
        assert!(places.take(local).is_some());
    }
}
