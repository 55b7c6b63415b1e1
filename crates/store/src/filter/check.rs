//! From a field, an operator and values to a condition that can be answered.

use std::ops::Range;

use wick_core::{Digest, Timestamp};

use super::error::FilterError;
use super::expr::{Comparison, Condition, Expr, Field, Kind, RunField, Test, Value};
use super::literal;
use super::pattern::Pattern;
use super::suggest::nearest;
use super::words::{RUN_STATES, SCHEDULED, STAGE_STATES, StateWords};

/// A value as it was written.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Operand {
    pub(super) value: Literal,
    pub(super) span: Range<usize>,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Literal {
    Number(f64),
    Text(String),
    Bool(bool),
}

/// What is asked, as it was written.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Asked {
    Null { negated: bool },
    Nan { negated: bool },
    Compare(Comparison, Operand),
    Between { low: Operand, high: Operand, negated: bool },
    In { values: Vec<Operand>, negated: bool },
    Like { pattern: Operand, ignore_case: bool, negated: bool },
}

/// The condition that `asked` is of `field`, which is named at `place`.
pub(super) fn condition(
    field: Field,
    place: Range<usize>,
    asked: Asked,
    now: Timestamp,
) -> Result<Expr, FilterError> {
    let checker = Checker { kind: field.kind(), field, place, now };
    match asked {
        Asked::Null { negated } => {
            Ok(checker.is(if negated { Test::Present } else { Test::Missing }))
        }
        Asked::Nan { negated } => match checker.field {
            Field::Metric(_) => Ok(checker.is(Test::Nan { negated })),
            _ => Err(checker.wrong("only a metric can be NaN")),
        },
        Asked::Compare(operator, operand) => checker.compare(operator, &operand),
        Asked::Between { low, high, negated } => checker.between(&low, &high, negated),
        Asked::In { values, negated } => checker.among(&values, negated),
        Asked::Like { pattern, ignore_case, negated } => {
            checker.like(&pattern, ignore_case, negated)
        }
    }
}

/// The condition that a flag is when its name stands alone.
pub(super) fn flag(field: Field) -> Expr {
    let test = flag_test(&field, true);
    Expr::Is(Condition { field, test })
}

/// Flags are times that are there or not, but for one that is recorded as a word.
fn flag_test(field: &Field, wanted: bool) -> Test {
    match field {
        Field::Run(RunField::Dirty) => {
            Test::Compare(Comparison::Equal, Value::Text(wanted.to_string()))
        }
        _ if wanted => Test::Present,
        _ => Test::Missing,
    }
}

struct Checker {
    field: Field,
    kind: Kind,
    place: Range<usize>,
    now: Timestamp,
}

impl Checker {
    fn is(self, test: Test) -> Expr {
        Expr::Is(Condition { field: self.field, test })
    }

    fn wrong(&self, message: impl Into<String>) -> FilterError {
        FilterError::new(self.place.clone(), message)
    }

    fn compare(self, operator: Comparison, operand: &Operand) -> Result<Expr, FilterError> {
        let negated = operator == Comparison::NotEqual;
        let is_equality = negated || operator == Comparison::Equal;
        if let (true, Literal::Bool(wanted)) = (self.field.is_flag(), &operand.value) {
            if !is_equality {
                let message = "what is true or false is neither less nor greater";
                return Err(FilterError::new(operand.span.clone(), message).help("write `=`"));
            }
            let test = flag_test(&self.field, *wanted != negated);
            return Ok(self.is(test));
        }
        match self.kind {
            Kind::RunState | Kind::StageState if is_equality => {
                self.among(std::slice::from_ref(operand), negated)
            }
            Kind::RunState | Kind::StageState => Err(self
                .wrong("a state is neither less nor greater than another")
                .help("write `=`, `!=` or `in`")),
            Kind::Moment => {
                let moment = self.moment(operand)?;
                let (first, last) = (moment.start, moment.end - 1);
                let value = |micros| Value::Moment(micros);
                let test = match operator {
                    Comparison::Equal | Comparison::NotEqual if first < last => {
                        Test::Between { low: value(first), high: value(last), negated }
                    }
                    // Before it begins, or after it ends.
                    Comparison::Less | Comparison::GreaterOrEqual => {
                        Test::Compare(operator, value(first))
                    }
                    _ => Test::Compare(operator, value(last)),
                };
                Ok(self.is(test))
            }
            _ => {
                let value = self.value(operand)?;
                if self.kind == Kind::Digest {
                    self.check_digest(&value, operand, is_equality)?;
                }
                Ok(self.is(Test::Compare(operator, value)))
            }
        }
    }

    fn between(self, low: &Operand, high: &Operand, negated: bool) -> Result<Expr, FilterError> {
        let (from, to) = match self.kind {
            Kind::RunState | Kind::StageState => {
                return Err(self.wrong("a state is neither less nor greater than another"));
            }
            Kind::Moment => {
                let (low, high) = (self.moment(low)?, self.moment(high)?);
                (Value::Moment(low.start), Value::Moment(high.end - 1))
            }
            _ => (self.value(low)?, self.value(high)?),
        };
        if std::mem::discriminant(&from) != std::mem::discriminant(&to) {
            let message = "a number and a text are no two ends of one range";
            return Err(FilterError::new(low.span.start..high.span.end, message));
        }
        Ok(self.is(Test::Between { low: from, high: to, negated }))
    }

    fn among(self, operands: &[Operand], negated: bool) -> Result<Expr, FilterError> {
        match self.kind {
            Kind::RunState => self.states(operands, negated, &RUN_STATES),
            Kind::StageState => self.states(operands, negated, &STAGE_STATES),
            Kind::Moment => {
                // Each is a stretch of time: one of several conditions, or all of their opposites.
                let field = self.field.clone();
                let all = operands.iter().map(|operand| {
                    let moment = self.moment(operand)?;
                    let (low, high) = (Value::Moment(moment.start), Value::Moment(moment.end - 1));
                    let test = Test::Between { low, high, negated };
                    Ok(Expr::Is(Condition { field: field.clone(), test }))
                });
                let mut all = all.collect::<Result<Vec<_>, FilterError>>()?;
                Ok(match (all.len(), negated) {
                    (1, _) => all.swap_remove(0),
                    (_, true) => Expr::And(all),
                    (_, false) => Expr::Or(all),
                })
            }
            _ => {
                let mut values = Vec::with_capacity(operands.len());
                for operand in operands {
                    let value = self.value(operand)?;
                    if self.kind == Kind::Digest {
                        self.check_digest(&value, operand, true)?;
                    }
                    values.push(value);
                }
                Ok(self.is(Test::In { values, negated }))
            }
        }
    }

    fn like(
        self,
        pattern: &Operand,
        ignore_case: bool,
        negated: bool,
    ) -> Result<Expr, FilterError> {
        let Literal::Text(text) = &pattern.value else {
            return Err(FilterError::new(pattern.span.clone(), "a pattern is a text")
                .help("patterns stand in quotes: like 'mnist%'"));
        };
        let words = match self.kind {
            Kind::RunState => &RUN_STATES[..],
            Kind::StageState => &STAGE_STATES[..],
            Kind::Either | Kind::Text | Kind::Digest => {
                let pattern = text.clone();
                return Ok(self.is(Test::Like { pattern, ignore_case, negated }));
            }
            Kind::Number | Kind::Moment | Kind::Duration => {
                let noun = self.field.noun();
                return Err(self
                    .wrong(format!("{noun} has no pattern"))
                    .help("`like` is for texts; write `between … and …` for a range"));
            }
        };
        let lower = |text: &str| if ignore_case { text.to_ascii_lowercase() } else { text.into() };
        let pattern = Pattern::new(&lower(text));
        let matches = |words: &StateWords| {
            pattern.matches(words.0) || words.1.is_some_and(|word| pattern.matches(&lower(word)))
        };
        let states = words.iter().filter(|words| matches(words) != negated);
        Ok(self.in_states(states.map(|words| words.0)))
    }

    /// States by their words, in any case.
    fn states(
        self,
        operands: &[Operand],
        negated: bool,
        words: &[StateWords],
    ) -> Result<Expr, FilterError> {
        let means = |words: &StateWords, text: &str| {
            let is = |word: &str| word.eq_ignore_ascii_case(text);
            is(words.0) || words.1.is_some_and(is)
        };
        let mut texts = Vec::with_capacity(operands.len());
        for operand in operands {
            let Literal::Text(text) = &operand.value else {
                return Err(FilterError::new(operand.span.clone(), "a state is a word")
                    .help("words stand in quotes: 'failed'"));
            };
            let is_known = words.iter().any(|words| means(words, text))
                || text.eq_ignore_ascii_case(SCHEDULED);
            if !is_known {
                let known = words.iter().map(|words| words.0);
                let help = match nearest(text, known.clone()) {
                    Some(nearest) => format!("did you mean '{nearest}'?"),
                    None => format!("there are {}", known.collect::<Vec<_>>().join(", ")),
                };
                let message = format!("`{text}` is not a state");
                return Err(FilterError::new(operand.span.clone(), message).help(help));
            }
            texts.push(text);
        }
        let states =
            words.iter().filter(|words| texts.iter().any(|text| means(words, text)) != negated);
        Ok(self.in_states(states.map(|words| words.0)))
    }

    fn in_states<'a>(self, states: impl Iterator<Item = &'a str>) -> Expr {
        let values: Vec<Value> = states.map(|state| Value::Text(state.to_owned())).collect();
        if values.is_empty() {
            return Expr::Always(false);
        }
        self.is(Test::In { values, negated: false })
    }

    /// A value of the field's kind.
    fn value(&self, operand: &Operand) -> Result<Value, FilterError> {
        let wrong = |message: String| FilterError::new(operand.span.clone(), message);
        let noun = self.field.noun();
        match (self.kind, &operand.value) {
            (Kind::Number | Kind::Either, Literal::Number(number)) => Ok(Value::Number(*number)),
            (Kind::Either | Kind::Text, Literal::Text(text)) => Ok(Value::Text(text.clone())),
            (Kind::Digest, Literal::Text(text)) => Ok(Value::Text(text.to_ascii_lowercase())),
            (Kind::Either, Literal::Bool(bool)) => Ok(Value::Text(bool.to_string())),
            (Kind::Duration, Literal::Number(seconds)) => {
                let micros = seconds * 1e6;
                if micros.abs() < 9e15 {
                    Ok(Value::Duration(micros.round() as i64))
                } else {
                    Err(wrong("the duration is too long".to_owned()))
                }
            }
            (Kind::Duration, Literal::Text(text)) => {
                literal::duration(text).map(Value::Duration).ok_or_else(|| {
                    wrong(format!("`{text}` is not a duration"))
                        .help("write '90s', '1h30m' or '2 days'; a number is seconds")
                })
            }
            (Kind::Number, Literal::Text(text)) => {
                let error = wrong(format!("{noun} is compared with a number"));
                Err(match text.parse::<f64>() {
                    Ok(_) => error.help(format!("without the quotes: {text}")),
                    Err(_) => error.help("such as 0.97"),
                })
            }
            (Kind::Text | Kind::Digest, Literal::Number(number)) => {
                Err(wrong(format!("{noun} is compared with a text"))
                    .help(format!("texts stand in quotes: '{number}'")))
            }
            (_, Literal::Bool(bool)) => Err(wrong(format!("{noun} is not true or false"))
                .help(format!("as a text it stands in quotes: '{bool}'"))),
            // These are not asked for here.
            (Kind::Moment | Kind::RunState | Kind::StageState, _) => {
                Err(wrong(format!("this is not {noun}")))
            }
        }
    }

    /// Digests are compared whole: a part of one would be equal to none.
    fn check_digest(
        &self,
        value: &Value,
        operand: &Operand,
        is_equality: bool,
    ) -> Result<(), FilterError> {
        match value {
            Value::Text(text) if is_equality && text.parse::<Digest>().is_err() => {
                Err(FilterError::new(operand.span.clone(), "this is not a whole digest")
                    .help(format!("find it by its beginning: like '{text}%'")))
            }
            _ => Ok(()),
        }
    }

    fn moment(&self, operand: &Operand) -> Result<Range<i64>, FilterError> {
        let moment = match &operand.value {
            Literal::Number(millis) => literal::moment_of_millis(*millis),
            Literal::Text(text) => literal::moment(text, self.now),
            Literal::Bool(_) => None,
        };
        moment.ok_or_else(|| {
            FilterError::new(operand.span.clone(), "this is not a time").help(
                "write '2026-11-01', '2026-11-01 12:30', '2 days ago' or 'yesterday'; a number \
                 is milliseconds since 1970",
            )
        })
    }
}
