//! Named slots and mutexes are shared by all runs of a store.

use std::sync::Mutex;
use std::time::Duration;

use wick_core::RunId;
use wick_store::slots::{Obstacle, Slots, Taken, Want};

fn slot(name: &str, size: u32, share: u32) -> Want {
    Want { is_mutex: false, name: name.into(), size, share }
}

fn mutex(name: &str) -> Want {
    Want { is_mutex: true, name: name.into(), size: 1, share: 1 }
}

fn run(number: u64) -> RunId {
    RunId::from_random(number)
}

/// Takes what is free, or is about to be: a server hears a moment later what was given back.
async fn take(slots: &Slots, wants: &[Want]) -> Taken {
    let taken = tokio::time::timeout(Duration::from_secs(60), slots.take(wants, |_| {}));
    taken.await.unwrap_or_else(|_| panic!("{wants:?} is not free"))
}

/// What a claim waits for at first. It does not stand in line any more when this returns.
async fn waits(slots: &Slots, wants: &[Want]) -> Obstacle {
    let told = tokio::sync::Notify::new();
    let obstacle = Mutex::new(None);
    let claim = slots.take(wants, |met| {
        obstacle.lock().expect("no panic").get_or_insert(met);
        told.notify_one();
    });
    tokio::select! {
        _ = claim => panic!("it is not free"),
        () = told.notified() => {}
    }
    obstacle.into_inner().expect("no panic").expect("it was told")
}

/// What another run waits for that wants a certain mutex.
pub async fn waits_for_mutex(location: &str) -> Obstacle {
    waits(&Slots::of_store(location, &run(77)).expect("slots"), &[mutex("certain")]).await
}

/// A run that has that mutex.
pub async fn take_mutex(location: &str) -> (RunId, Taken) {
    let slots = Slots::of_store(location, &run(76)).expect("slots");
    (run(76), take(&slots, &[mutex("certain")]).await)
}

/// The store at `location` is there.
pub async fn runs_share_what_is_counted_by_name(location: &str) {
    let of = |number| Slots::of_store(location, &run(number)).expect("slots");
    let (one, two) = (of(1), of(2));
    // Units are counted over all runs; a mutex of the same name is another thing.
    let first = take(&one, &[slot("database", 2, 1)]).await;
    let second = take(&two, &[slot("database", 2, 1), mutex("database")]).await;
    let met = waits(&one, &[slot("database", 2, 1)]).await;
    assert_eq!(met, Obstacle { what: "slot database".into(), holder: Some(run(2)), trouble: None });
    assert_eq!(met.to_string(), format!("slot database, held by run {}", run(2)));
    assert_eq!(waits(&one, &[mutex("database")]).await.what, "mutex database");
    // All or nothing: what was free is not kept while the rest is waited for.
    waits(&one, &[mutex("scale"), mutex("database")]).await;
    drop(take(&two, &[mutex("scale")]).await);
    drop(first);
    waits(&two, &[slot("database", 2, 2)]).await;
    drop(second);
    // More than there is means all.
    drop(take(&two, &[slot("database", 2, 9)]).await);
    // Within one run they hold, too, whoever counts there.
    let held = take(&one, &[mutex("a.b/c")]).await;
    waits(&one, &[mutex("a.b/c")]).await;
    drop(held);
    drop(take(&one, &[mutex("a.b/c")]).await);
}

/// Who waits is next: a run that gives a unit back and wants it again at once stands behind.
pub async fn who_waits_is_next(location: &str) {
    let of = |number| Slots::of_store(location, &run(number)).expect("slots");
    let (greedy, patient) = (of(1), of(2));
    let wants = [mutex("m")];
    let held = take(&greedy, &wants).await;
    let told = tokio::sync::Notify::new();
    let mut waiting = Box::pin(patient.take(&wants, |_| told.notify_one()));
    tokio::select! {
        _ = &mut waiting => panic!("it is not free"),
        () = told.notified() => {}
    }
    drop(held);
    let order = Mutex::new(Vec::new());
    let served = async |claim: &mut (dyn Future<Output = Taken> + Unpin), name| {
        let taken = claim.await;
        order.lock().expect("no panic").push(name);
        drop(taken);
    };
    // The run that had it asks first.
    let mut again = Box::pin(greedy.take(&wants, |_| {}));
    tokio::join!(served(&mut again, "greedy"), served(&mut waiting, "patient"));
    assert_eq!(order.into_inner().expect("no panic"), ["patient", "greedy"]);
}

/// Many claims of several names at once, in every order: each is served, none holds too much.
pub async fn nobody_waits_in_a_circle(location: &str) {
    let held = Mutex::new([0_i32; 2]);
    let one = async |number: u64| {
        let slots = Slots::of_store(location, &run(number)).expect("slots");
        for round in 0..4 {
            let (a, b) = (slot("a", 2, 1 + (number + round) as u32 % 2), mutex("b"));
            let share = a.share as i32;
            let wants = if (number + round).is_multiple_of(3) { vec![b, a] } else { vec![a, b] };
            let taken = slots.take(&wants, |_| {}).await;
            let count = |by: i32| {
                let mut held = held.lock().expect("no panic");
                held[0] += by * share;
                held[1] += by;
                assert!(held[0] <= 2 && held[1] <= 1, "{held:?}");
            };
            count(1);
            tokio::task::yield_now().await;
            count(-1);
            drop(taken);
        }
    };
    futures_util::future::join_all((1..6).map(one)).await;
}
