//! Macros for spans and decisions.

/// A span that becomes an audit entry, with the fields that are learned late already declared:
/// `decision`, `reason`, `policy_id`, `rule_id`, `approval_id`, `approved_by`, `result`, `output`,
/// `error.type`, `otel.status_code`, `otel.status_description` and `trace_id`. A field that is not
/// declared when a span begins is lost when it is recorded.
///
/// It takes what `tracing::info_span!` takes: a name, then fields; at most 20 of them.
///
/// ```
/// let span = spanledger::audit_span!("refund", run_id = "run-1", amount = 740);
/// span.record("decision", "require_approval");
/// span.record("trace_id", "langsmith-run-abc123");
/// ```
#[macro_export]
macro_rules! audit_span {
    ($name:expr $(,)?) => {
        $crate::audit_span!($name, spanledger.source = ::core::module_path!())
    };
    ($name:expr, $($fields:tt)+) => {
        $crate::__audit_span!($name; [] $($fields)+)
    };
}

/// What is declared late stands behind the user's fields: of two of one name the first is found.
/// So the comma that may stand behind the last of those has to be looked for, token by token; eight
/// at a time, because macros recurse 128 times at most.
#[doc(hidden)]
#[macro_export]
macro_rules! __audit_span {
    ($name:expr; [$($fields:tt)*] ,) => {
        $crate::layer::tracing::span!(
            target: "audit",
            $crate::layer::tracing::Level::INFO,
            $name,
            $($fields)*,
            trace_id = $crate::layer::tracing::field::Empty,
            decision = $crate::layer::tracing::field::Empty,
            reason = $crate::layer::tracing::field::Empty,
            policy_id = $crate::layer::tracing::field::Empty,
            rule_id = $crate::layer::tracing::field::Empty,
            approval_id = $crate::layer::tracing::field::Empty,
            approved_by = $crate::layer::tracing::field::Empty,
            result = $crate::layer::tracing::field::Empty,
            output = $crate::layer::tracing::field::Empty,
            error.type = $crate::layer::tracing::field::Empty,
            otel.status_code = $crate::layer::tracing::field::Empty,
            otel.status_description = $crate::layer::tracing::field::Empty,
        )
    };
    ($name:expr; [$($fields:tt)*] $last:tt) => {
        $crate::__audit_span!($name; [$($fields)* $last] ,)
    };
    (
        $name:expr; [$($fields:tt)*]
        $a:tt $b:tt $c:tt $d:tt $e:tt $f:tt $g:tt $h:tt $($rest:tt)+
    ) => {
        $crate::__audit_span!($name; [$($fields)* $a $b $c $d $e $f $g $h] $($rest)+)
    };
    ($name:expr; [$($fields:tt)*] $next:tt $($rest:tt)+) => {
        $crate::__audit_span!($name; [$($fields)* $next] $($rest)+)
    };
}

/// A decision as an event in the current span: the outcome, then fields without a prefix. It does
/// not wait; where acting must wait for the record, use [`gate`](crate::layer::gate) or
/// [`record`](crate::record).
///
/// ```
/// spanledger::decision!("block", reason = "over the limit", policy_id = "refunds");
/// spanledger::decision!("allow");
/// ```
#[macro_export]
macro_rules! decision {
    ($outcome:expr $(,)?) => {
        $crate::layer::tracing::event!(
            target: "audit",
            $crate::layer::tracing::Level::INFO,
            decision = $outcome,
            kind = "decision",
        )
    };
    ($outcome:expr, $($fields:tt)+) => {
        $crate::layer::tracing::event!(
            target: "audit",
            $crate::layer::tracing::Level::INFO,
            decision = $outcome,
            kind = "decision",
            $($fields)+
        )
    };
}
