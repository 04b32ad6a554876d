//! The model of one key, and the check of a history against it.

use std::time::Duration;

use porcupine_rs::{CheckResult, Model, Operation, check_operations_timeout};

use super::history::{Answer, Event, History, Request};

/// A key of Redis that holds text, or a number as text.
#[derive(Clone, Debug)]
struct Key;

impl Model for Key {
    type State = Option<String>;
    type Op = (Request, Answer);
    type Metadata = ();

    fn init() -> Self::State {
        None
    }

    fn step(state: &Self::State, (request, answer): &Self::Op) -> (bool, Self::State) {
        let (result, next) = apply(state, request);
        // A request without an answer may have had any result.
        (*answer == Answer::Unknown || *answer == result, next)
    }
}

/// Applies a request to a key as Redis does.
fn apply(state: &Option<String>, request: &Request) -> (Answer, Option<String>) {
    let held = state.as_deref().unwrap_or_default();
    match request {
        Request::Get => (Answer::Value(state.clone()), state.clone()),
        Request::Set(value) => (Answer::Done, Some(value.clone())),
        Request::Append(more) => {
            let next = format!("{held}{more}");
            let length = i64::try_from(next.len()).expect("a short value");
            (Answer::Number(length), Some(next))
        }
        Request::Increment => {
            // Keys with counts hold only numbers, and a missing key counts as 0.
            let next = held.parse::<i64>().unwrap_or(0) + 1;
            (Answer::Number(next), Some(next.to_string()))
        }
    }
}

/// The longest time for one key. A key of a full history takes milliseconds.
const BOUND: Duration = Duration::from_secs(60);

/// Checks each key alone: linearizability is local, and the search grows with the number of events
/// that it takes together.
///
/// # Errors
///
/// Returns the keys whose events fit no order, or for which no order was found in time.
pub fn check(history: &History) -> Result<(), String> {
    let mut wrong = Vec::new();
    for (key, events) in history.by_key() {
        let operations: Vec<Operation<Key>> = events.iter().map(|e| operation(e)).collect();
        match check_operations_timeout(&operations, BOUND) {
            CheckResult::Ok => {}
            CheckResult::Illegal => wrong.push(format!("key {key} is not linearizable")),
            CheckResult::Unknown => wrong.push(format!("key {key}: no verdict in {BOUND:?}")),
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("; ")) }
}

fn operation(event: &Event) -> Operation<Key> {
    Operation {
        client_id: Some(event.client),
        call_time: event.asked,
        return_time: event.told,
        op: (event.request.clone(), event.answer.clone()),
        metadata: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(times: (i64, i64), request: Request, answer: Answer) -> Event {
        let (asked, told) = times;
        Event { client: 1, key: "k".to_owned(), asked, told, request, answer }
    }

    fn history(events: &[Event]) -> History {
        History { events: events.to_vec() }
    }

    fn set(times: (i64, i64), value: &str) -> Event {
        event(times, Request::Set(value.to_owned()), Answer::Done)
    }

    fn get(times: (i64, i64), value: &str) -> Event {
        event(times, Request::Get, Answer::Value(Some(value.to_owned())))
    }

    #[test]
    fn a_stale_read_is_found() {
        let good = history(&[set((1, 2), "a"), get((3, 4), "a"), set((5, 6), "b")]);
        assert_eq!(check(&good), Ok(()));
        let mut events = good.events.clone();
        events.push(get((7, 8), "a"));
        assert!(check(&history(&events)).is_err());
    }

    #[test]
    fn a_stale_read_is_planted_where_it_must_be_found() {
        let good =
            history(&[set((1, 2), "a"), get((3, 4), "a"), set((5, 6), "b"), get((7, 8), "b")]);
        assert_eq!(check(&good), Ok(()));
        let stale = good.with_stale_read(1).expect("a place");
        assert!(check(&stale).is_err());
        // While the second SET is in flight, either value is right.
        let open =
            history(&[set((1, 2), "a"), get((3, 4), "a"), set((5, 9), "b"), get((7, 8), "b")]);
        assert!(open.with_stale_read(1).is_none());
    }

    #[test]
    fn a_write_without_an_answer_may_happen_late_or_never_but_not_twice() {
        let lost =
            |value: &str| event((3, i64::MAX), Request::Append(value.to_owned()), Answer::Unknown);
        let start = [set((1, 2), "a"), lost("b")];
        let with = |more: &[Event]| history(&[&start[..], more].concat());
        assert_eq!(check(&with(&[get((5, 6), "a")])), Ok(()));
        assert_eq!(check(&with(&[get((5, 6), "a"), get((7, 8), "ab")])), Ok(()));
        assert!(check(&with(&[get((5, 6), "ab"), get((7, 8), "a")])).is_err());
        assert!(check(&with(&[get((5, 6), "abb")])).is_err());
    }

    #[test]
    fn a_count_goes_up_by_one() {
        let count = |times, number| event(times, Request::Increment, Answer::Number(number));
        assert_eq!(check(&history(&[count((1, 2), 1), count((3, 4), 2)])), Ok(()));
        assert!(check(&history(&[count((1, 2), 1), count((3, 4), 1)])).is_err());
        assert!(check(&history(&[count((1, 2), 1), count((3, 4), 3)])).is_err());
    }
}
