//! The way of an order: the workers that get a quote or a channel message, and the answer to the worker that asked.
//! Each request is answered exactly once, or never if the asker has ended.
//!
//! Sessions of a worker that ended or was silent are *unknown*: the frame may have reached them. Only what a worker
//! confirms counts as delivered.

#[cfg(test)]
mod cost;
#[cfg(test)]
mod history;
#[cfg(test)]
mod tests;
mod ticket;

use super::directory::Directory;
use crate::access::Buckets;
use crate::config::LimitsSection;
use crate::model::{Mono, Rate, RequestId, Wall};
use crate::protocol::cluster::{Generation, Outcome, Skip, Tally};
use foldhash::quality::RandomState;
use std::hash::BuildHasher;
use std::net::IpAddr;
use ticket::{Kind, Part, Ticket, Tickets};

/// An order to deliver, as it came: [`crate::protocol::cluster::ToMaster::Deliver`].
#[derive(Clone, Copy, Debug)]
pub struct Order<'a> {
    /// The asker's number for the request.
    pub request: u64,
    /// The client's number for the request.
    pub id: RequestId,
    pub user: &'a str,
    /// The symbol of the quote.
    pub symbol: &'a str,
    /// The whole WebSocket frame; empty when there is no price.
    pub frame: &'a [u8],
    /// The moment to give up.
    pub deadline: Mono,
    /// The address of the client that posted it; IPv6 cut to its /64.
    pub poster: IpAddr,
}

/// A message for a channel, as it came: [`crate::protocol::cluster::ToMaster::Publish`].
#[derive(Clone, Copy, Debug)]
pub struct Publication<'a> {
    /// The asker's number for the request.
    pub request: u64,
    pub channel: &'a str,
    /// The whole WebSocket frame.
    pub frame: &'a [u8],
    /// The moment to give up.
    pub deadline: Mono,
    /// Sessions that must not get the message.
    pub skip: Option<Skip>,
    /// Who published it and its number there; `None`: the master.
    pub of: Option<(Generation, u64)>,
}

/// Why a link did not take an order, which certainly was not delivered there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    /// Too much waits for that worker already.
    Full,
    /// The worker has ended.
    Gone,
}

/// Carries the router's decisions. Frames are the bytes that came in, without a copy.
pub trait Sink {
    /// `ToWorker::Push`.
    ///
    /// # Errors
    /// The link did not take the message.
    fn push(&mut self, to: Generation, ticket: u64, order: &Order<'_>) -> Result<(), Lost>;
    /// `ToWorker::Publish`.
    ///
    /// # Errors
    /// The link did not take the message.
    fn publish(&mut self, to: Generation, ticket: u64, publication: &Publication<'_>) -> Result<(), Lost>;
    /// `ToWorker::Receipt`.
    fn receipt(&mut self, to: Generation, request: u64, outcome: Outcome);
    /// `ToWorker::PublishReceipt`.
    fn publish_receipt(&mut self, to: Generation, request: u64, sessions: u32);
}

/// How many quotes there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rates {
    /// `limits.quotes_per_user`
    pub user: Rate,
    /// `limits.quotes_per_poster`
    pub poster: Rate,
}

impl Rates {
    #[must_use]
    pub fn of(limits: &LimitsSection) -> Self {
        Self { user: limits.quotes_per_user, poster: limits.quotes_per_poster }
    }
}

#[derive(Debug)]
pub struct Router {
    rates: Rates,
    users: Buckets,
    posters: Buckets,
    hasher: RandomState,
    tickets: Tickets,
}

impl Router {
    /// Creates a router without tickets.
    #[must_use]
    pub fn new(rates: Rates) -> Self {
        let (users, posters, hasher) = (Buckets::default(), Buckets::default(), RandomState::default());
        Self { rates, users, posters, hasher, tickets: Tickets::default() }
    }

    /// Begins with other numbers of tickets than the masters before: their tickets are not confused with these.
    #[must_use]
    pub fn after(mut self, wall: Wall) -> Self {
        self.tickets.begin_at(wall.0.unsigned_abs());
        self
    }

    /// Follows other limits. Earlier quotes stay counted.
    pub fn set_rates(&mut self, rates: Rates) {
        self.rates = rates;
    }

    /// Sends `order`, which `from` asked for, to each worker where a quote reaches the user; or answers at once.
    pub fn deliver<S: Sink>(
        &mut self,
        from: Generation,
        order: &Order<'_>,
        directory: &Directory,
        now: Mono,
        sink: &mut S,
    ) {
        // First the poster: a flood of one uses up the quotes of no user.
        let poster = self.hasher.hash_one(order.poster);
        if let Err(wait) = self.posters.take(poster, self.rates.poster, now) {
            return sink.receipt(from, order.request, Outcome::PosterLimited(wait));
        }
        let key = directory.user_key(order.user);
        if let Err(wait) = self.users.take(key, self.rates.user, now) {
            return sink.receipt(from, order.request, Outcome::Limited(wait));
        }
        let places = directory.places(key, order.user);
        let mut places = places.iter().filter(|place| place.reached > 0).peekable();
        if places.peek().is_none() {
            return sink.receipt(from, order.request, Outcome::NotConnected);
        }
        if order.frame.is_empty() {
            return sink.receipt(from, order.request, Outcome::NoPrice);
        }
        if order.deadline <= now {
            // The asker has given up: a quote that comes now would be a surprise.
            return sink.receipt(from, order.request, Outcome::Unknown);
        }
        let number = self.tickets.next();
        let mut ticket = Ticket::new(from, order.request, Kind::Quote, order.deadline);
        for place in places {
            match sink.push(place.worker, number, order) {
                Ok(()) => ticket.wait_for(Part { worker: place.worker, sessions: place.reached }),
                Err(Lost::Full) => ticket.tally.slow += place.reached,
                Err(Lost::Gone) => {}
            }
        }
        self.keep_or_end(ticket, sink);
    }

    /// Sends a message for a channel to all `ready` workers.
    pub fn publish<S: Sink>(
        &mut self,
        from: Generation,
        publication: &Publication<'_>,
        ready: impl IntoIterator<Item = Generation>,
        now: Mono,
        sink: &mut S,
    ) {
        if publication.deadline <= now {
            return sink.publish_receipt(from, publication.request, 0);
        }
        let number = self.tickets.next();
        let mut ticket = Ticket::new(from, publication.request, Kind::Message, publication.deadline);
        for worker in ready {
            if sink.publish(worker, number, publication).is_ok() {
                ticket.wait_for(Part { worker, sessions: 0 });
            }
        }
        self.keep_or_end(ticket, sink);
    }

    /// Takes the result of a quote at `worker`. A result that was not asked for, or comes twice, is ignored.
    pub fn delivered<S: Sink>(&mut self, worker: Generation, ticket: u64, tally: Tally, sink: &mut S) {
        self.told(worker, ticket, Kind::Quote, tally, sink);
    }

    /// Takes the count of sessions at `worker` that a message went to, by the same rule.
    pub fn published<S: Sink>(&mut self, worker: Generation, ticket: u64, sessions: u32, sink: &mut S) {
        let tally = Tally { delivered: sessions, ..Tally::default() };
        self.told(worker, ticket, Kind::Message, tally, sink);
    }

    /// Whether no order is under way.
    pub fn is_idle(&self) -> bool {
        self.tickets.is_empty()
    }

    /// Notes that a process has ended: its deliveries are unknown, its own requests need no answer.
    pub fn worker_gone<S: Sink>(&mut self, worker: Generation, sink: &mut S) {
        self.tickets.retain(|ticket| {
            if ticket.from == worker {
                return false;
            }
            if let Some(part) = ticket.take(worker) {
                ticket.tally.waiting += part.sessions;
            }
            ticket.is_waiting() || answer(ticket, sink)
        });
    }

    /// Notes that a process has ended whose sessions go on elsewhere: its own requests need no answer.
    pub fn asker_gone(&mut self, worker: Generation) {
        self.tickets.retain(|ticket| ticket.from != worker);
    }

    /// The sessions of a process that has ended were given to another one, which answers for these tickets in its
    /// place. The others are unknown.
    pub fn hand_over<S: Sink>(&mut self, from: Generation, to: Generation, tickets: &[u64], sink: &mut S) {
        for number in tickets {
            if let Some(ticket) = self.tickets.get_mut(*number)
                && let Some(part) = ticket.take(from)
            {
                ticket.wait_for(Part { worker: to, ..part });
            }
        }
        self.worker_gone(from, sink);
    }

    /// Answers requests that have reached their deadline.
    pub fn expire<S: Sink>(&mut self, now: Mono, sink: &mut S) {
        while let Some(mut ticket) = self.tickets.take_due(now) {
            ticket.give_up();
            answer(&ticket, sink);
        }
    }

    /// The next moment at which [`Router::expire`] has something to do.
    pub fn next_deadline(&mut self) -> Option<Mono> {
        self.tickets.next_deadline()
    }

    /// Gives back memory that is not needed. Call it about once a second.
    pub fn tidy(&mut self, now: Mono) {
        self.users.tidy(now);
        self.posters.tidy(now);
        self.tickets.tidy();
    }

    /// Count of requests without an answer.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.tickets.len()
    }

    fn keep_or_end<S: Sink>(&mut self, ticket: Ticket, sink: &mut S) {
        if ticket.is_waiting() {
            self.tickets.insert(ticket);
        } else {
            answer(&ticket, sink);
        }
    }

    fn told<S: Sink>(&mut self, worker: Generation, number: u64, kind: Kind, tally: Tally, sink: &mut S) {
        let Some(ticket) = self.tickets.get_mut(number).filter(|ticket| ticket.kind == kind) else { return };
        if ticket.take(worker).is_none() {
            return;
        }
        ticket.add(tally);
        if !ticket.is_waiting()
            && let Some(ticket) = self.tickets.take(number)
        {
            answer(&ticket, sink);
        }
    }
}

/// Answers the asker of `ticket`. Returns false: the ticket is not kept.
fn answer<S: Sink>(ticket: &Ticket, sink: &mut S) -> bool {
    match ticket.kind {
        Kind::Quote => sink.receipt(ticket.from, ticket.request, outcome(ticket.tally)),
        Kind::Message => sink.publish_receipt(ticket.from, ticket.request, ticket.tally.delivered),
    }
    false
}

fn outcome(tally: Tally) -> Outcome {
    match tally {
        Tally { delivered: 1.., .. } => {
            Outcome::Delivered { sessions: tally.delivered, unconfirmed: tally.waiting }
        }
        Tally { waiting: 1.., .. } => Outcome::Unknown,
        Tally { slow: 1.., .. } => Outcome::Slow,
        Tally { .. } => Outcome::NotConnected,
    }
}
