//! The registry of models.

use wick_core::{AttemptState, Digest, Effect, EventBody, Token};
use wick_store::{Store, StoreError};

use crate::world::*;

fn register(name: &str, content: &str, description: Option<&str>) -> Effect {
    Effect::RegisterModel {
        name: name.parse().expect("a name"),
        digest: Digest::of(content.as_bytes()),
        description: description.map(str::to_owned),
        tags: vec![("team".to_owned(), "vision".to_owned())],
    }
}

fn alias(name: &str, alias: &str, content: &str) -> Effect {
    Effect::SetAlias {
        name: name.parse().expect("a name"),
        alias: alias.to_owned(),
        digest: Digest::of(content.as_bytes()),
    }
}

pub async fn versions_count_up(store: &dyn Store) {
    assert!(store.models().await.expect("models").is_empty());
    for content in ["one", "two", "one"] {
        let effect = register("digits", content, Some(content));
        store.apply_effect(&effect, now()).await.expect("registered");
    }
    store.apply_effect(&register("other", "one", None), now()).await.expect("registered");
    let models = store.models().await.expect("models");
    assert_eq!(models.len(), 2);
    assert_eq!(models[0].name, "digits");
    assert_eq!(models[0].description.as_deref(), Some("two"), "the newest version's");
    let versions: Vec<_> = models[0].versions.iter().map(|v| (v.version, v.digest)).collect();
    assert_eq!(versions, [(1, Digest::of(b"one")), (2, Digest::of(b"two"))]);
    assert_eq!(models[0].versions[0].tags, [("team".to_owned(), "vision".to_owned())]);
    assert_eq!((&models[0].versions[0].run, &models[0].versions[0].stage), (&None, &None));
    assert_eq!(models[1].versions.len(), 1);
}

pub async fn aliases_move(store: &dyn Store) {
    store.apply_effect(&register("digits", "one", None), now()).await.expect("registered");
    store.apply_effect(&register("digits", "two", None), now()).await.expect("registered");
    let name = "digits".parse().expect("a name");
    let version = async |reference: Option<&str>| {
        let version = store.model_version(&name, reference).await.expect("an answer");
        version.map(|version| version.version)
    };
    assert_eq!(version(None).await, Some(2));
    assert_eq!(version(Some("1")).await, Some(1));
    for reference in ["3", "production", "-1", "99999999999", ""] {
        assert_eq!(version(Some(reference)).await, None, "{reference}");
    }
    for (content, expect) in [("two", 2), ("two", 2), ("one", 1)] {
        let effect = alias("digits", "production", content);
        store.apply_effect(&effect, now()).await.expect("set");
        assert_eq!(version(Some("production")).await, Some(expect));
    }
    store.apply_effect(&alias("digits", "best", "one"), now()).await.expect("set");
    let models = store.models().await.expect("models");
    assert_eq!(models[0].versions[0].aliases, ["best", "production"]);
    assert!(models[0].versions[1].aliases.is_empty());
    for wrong in [
        alias("digits", "production", "three"),
        alias("none", "production", "one"),
        alias("digits", "2", "two"),
        alias("digits", "", "two"),
    ] {
        let applied = store.apply_effect(&wrong, now()).await;
        assert!(matches!(applied, Err(StoreError::Refused(_))), "{wrong:?}: {applied:?}");
    }
    assert_eq!(
        store.model_version(&"none".parse().expect("a name"), None).await.expect("an answer"),
        None
    );
}

pub async fn stages_register_models(store: &dyn Store) {
    let driven = Driven::new(store, &["register", "again"]).await;
    let token = Token(number());
    let asked = vec![
        register("digits", "model", Some("a small network")),
        alias("digits", "production", "model"),
    ];
    let end = |token, state| {
        let mut end = finished("register", 1, token, state);
        if let EventBody::AttemptFinished { effects, .. } = &mut end {
            effects.clone_from(&asked);
        }
        end
    };
    driven.tell([started("register", 1, token, "r")]).await;
    let stale = driven.try_tell([end(Token(number()), AttemptState::Succeeded)]).await;
    assert!(matches!(stale, Err(StoreError::StaleToken { .. })), "{stale:?}");
    assert!(store.models().await.expect("models").is_empty(), "nothing was published");
    driven.tell([end(token, AttemptState::Succeeded)]).await;
    let models = store.models().await.expect("models");
    let version = &models[0].versions[0];
    assert_eq!(version.run, Some(driven.run.clone()));
    assert_eq!(version.stage, Some(stage("register")));
    assert_eq!(version.aliases, ["production"]);

    // Reused: the same again, to no further effect.
    let found = store.find_cached(&[fingerprint("r")]).await.expect("an answer");
    let found = found[0].clone().expect("it is there");
    assert_eq!(found.effects, asked);
    driven.tell([cached("again", "r", found.origin, found.effects)]).await;
    assert_eq!(store.models().await.expect("models"), models);

    // A failed attempt asks in vain.
    let driven = Driven::new(store, &["register"]).await;
    let token = Token(number());
    let mut failed = finished("register", 1, token, AttemptState::Failed);
    if let EventBody::AttemptFinished { effects, .. } = &mut failed {
        *effects = vec![register("digits", "bad", None)];
    }
    driven.tell([started("register", 1, token, "s"), failed]).await;
    assert_eq!(store.models().await.expect("models"), models);
}

pub async fn stages_report_params(store: &dyn Store) {
    let driven = Driven::new(store, &["a", "b"]).await;
    let before = store.params(&driven.run).await.expect("params");
    let report = async |name: &str, attempt: u32, params: serde_json::Value| {
        let token = Token(number());
        let mut end = finished(name, attempt, token, AttemptState::Succeeded);
        if let EventBody::AttemptFinished { effects, .. } = &mut end {
            let params: serde_json::Map<String, serde_json::Value> =
                serde_json::from_value(params).expect("an object");
            effects.push(Effect::ReportParams { params: params.into_iter().collect() });
        }
        driven.tell([started(name, attempt, token, name), end]).await;
    };
    let reported = async || {
        let params = store.params(&driven.run).await.expect("params").into_iter();
        let new = params.filter(|param| !before.contains(param));
        new.map(|param| (param.name, param.value)).collect::<Vec<_>>()
    };
    let of = |name: &str, value: serde_json::Value| (name.to_owned(), value);
    report("a", 1, serde_json::json!({"n": 17, "w%_": [1, "x"]})).await;
    report("b", 1, serde_json::json!({"n": "text"})).await;
    let all = [of("a.n", 17.into()), of("a.w%_", serde_json::json!([1, "x"]))];
    let other = of("b.n", "text".into());
    assert_eq!(reported().await, [all.as_slice(), std::slice::from_ref(&other)].concat());
    // Another attempt's take their place.
    driven.tell([EventBody::StageRequeued { stage: stage("a") }]).await;
    report("a", 2, serde_json::json!({"n": 18})).await;
    assert_eq!(reported().await, [of("a.n", 18.into()), other]);
    let run = store.run(&driven.run).await.expect("read").expect("the run");
    assert!(!run.overridden.iter().any(|name| name.contains('.')), "nobody gave them");
}
