use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use crate::Limits;

/// Part of the places (one in so many) below which idle connections are closed to make room.
const SCARCE: usize = 8;

/// The places that connections take, and what makes room among them.
#[derive(Debug, Clone)]
pub(crate) struct Places {
    shared: Arc<Semaphore>,
    loopback: Arc<Semaphore>,
    scarce: usize,
    idle: Arc<Idle>,
}

/// The connections that are idle, the one that has been so for the longest time first.
#[derive(Debug, Default)]
struct Idle(Mutex<Queue>);

#[derive(Debug, Default)]
struct Queue {
    next: u64,
    waiting: BTreeMap<u64, oneshot::Sender<()>>,
}

impl Idle {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.0.lock().expect("no panic while held")
    }

    /// Has the first of them closed. Where none is idle nothing is remembered: a connection that comes later must not
    /// pay for it.
    fn close_first(&self) {
        if let Some((_, sender)) = self.lock().waiting.pop_first() {
            // It was dropped in this moment, which makes room as well.
            let _ = sender.send(());
        }
    }
}

/// One idle connection in the queue; leaves it when dropped.
struct Waiting<'a> {
    idle: &'a Idle,
    number: u64,
}

impl<'a> Waiting<'a> {
    fn new(idle: &'a Idle) -> (Waiting<'a>, oneshot::Receiver<()>) {
        let (sender, receiver) = oneshot::channel();
        let mut queue = idle.lock();
        let number = queue.next;
        queue.next = queue.next.wrapping_add(1);
        queue.waiting.insert(number, sender);
        (Waiting { idle, number }, receiver)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.idle.lock().waiting.remove(&self.number);
    }
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
            idle: Arc::default(),
        }
    }

    /// A place for a connection from `peer`, where there is one. Closes an idle connection where few are left.
    pub(crate) fn take(&self, peer: IpAddr) -> Option<Place> {
        let is_loopback = peer.to_canonical().is_loopback();
        let place = self.shared.clone().try_acquire_owned();
        if self.shared.available_permits() <= self.scarce {
            self.idle.close_first();
        }
        match place {
            Ok(place) => Some(place),
            Err(_) if is_loopback => self.loopback.clone().try_acquire_owned().ok(),
            Err(_) => None,
        }
    }

    /// Resolves for one idle connection at a time, the one that waits for the longest time, when room is needed.
    pub(crate) async fn evicted(&self) {
        let (_waiting, closed) = Waiting::new(&self.idle);
        if closed.await.is_err() {
            std::future::pending().await
        }
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
