//! What a task's signature may look like, and what to say when it does not.

use proc_macro2::Span;
use syn::{
    Error, FnArg, GenericParam, ItemFn, PatType, Result, ReturnType, Type, spanned::Spanned as _,
};

const EXPECTED: &str = "write `fn name(ctx: &Context, input: Input) -> Result<Output, Failure>`, \
                        where `ctx`, `input` and `Result` may be left out";

/// The parts of a signature that the registration needs.
pub(crate) struct Signature {
    pub(crate) takes_context: bool,
    pub(crate) input: Option<Box<Type>>,
    pub(crate) output: Output,
}

/// What a task returns.
pub(crate) enum Output {
    /// The output itself.
    Value(Box<Type>),
    /// A `Result`, by its own name or an alias that ends in it.
    Result(Box<Type>),
    Nothing,
}

impl Signature {
    pub(crate) fn read(function: &ItemFn) -> Result<Self> {
        check_form(function)?;
        let parameters = parameters(function)?;
        let (takes_context, input) = match parameters.as_slice() {
            [] => (false, None),
            [one] if is_context(&one.ty) => (true, None),
            [one] => (false, Some(input_type(one)?)),
            [first, second] if is_context(&first.ty) => (true, Some(input_type(second)?)),
            [first, second] if is_context(&second.ty) => {
                return Err(refuse(first.span(), "`ctx: &Context` comes first"));
            }
            [_, second, ..] => {
                return Err(refuse(
                    second.span(),
                    "a task takes one input: put several values into a struct",
                ));
            }
        };
        Ok(Self {
            takes_context,
            input,
            output: Output::read(&function.sig.output),
        })
    }
}

impl Output {
    fn read(output: &ReturnType) -> Self {
        match output {
            ReturnType::Default => Self::Nothing,
            ReturnType::Type(_, ty) if is_result(ty) => Self::Result(ty.clone()),
            ReturnType::Type(_, ty) => Self::Value(ty.clone()),
        }
    }
}

fn refuse(span: Span, problem: &str) -> Error {
    Error::new(span, format!("{problem}; {EXPECTED}"))
}

fn check_form(function: &ItemFn) -> Result<()> {
    let signature = &function.sig;
    if let Some(token) = &signature.asyncness {
        return Err(refuse(
            token.span(),
            "a task is not async: each invocation has an instance of its own, so it may block; \
             remove `async`",
        ));
    }
    if let Some(parameter) = signature.generics.params.first() {
        let problem = match parameter {
            GenericParam::Lifetime(_) => "a task has no lifetime parameters: it owns its input",
            _ => "a task is not generic: the host needs one concrete type to read the input into",
        };
        return Err(refuse(parameter.span(), problem));
    }
    if let Some(variadic) = &signature.variadic {
        return Err(refuse(
            variadic.span(),
            "a task takes at most two parameters",
        ));
    }
    Ok(())
}

fn parameters(function: &ItemFn) -> Result<Vec<&PatType>> {
    function
        .sig
        .inputs
        .iter()
        .map(|argument| match argument {
            FnArg::Typed(parameter) => Ok(parameter),
            FnArg::Receiver(this) => Err(refuse(
                this.span(),
                "a task is a free function: it takes no `self`",
            )),
        })
        .collect()
}

fn input_type(parameter: &PatType) -> Result<Box<Type>> {
    if matches!(*parameter.ty, Type::Reference(_)) {
        return Err(refuse(
            parameter.ty.span(),
            "a task owns its input: take it by value",
        ));
    }
    if last_segment(&parameter.ty).is_some_and(|name| name == "Context") {
        return Err(refuse(
            parameter.ty.span(),
            "the context is borrowed: take `&Context`",
        ));
    }
    Ok(parameter.ty.clone())
}

fn is_context(ty: &Type) -> bool {
    matches!(ty, Type::Reference(reference) if reference.mutability.is_none()
        && last_segment(&reference.elem).is_some_and(|name| name == "Context"))
}

fn is_result(ty: &Type) -> bool {
    last_segment(ty).is_some_and(|name| name.ends_with("Result"))
}

fn last_segment(ty: &Type) -> Option<String> {
    match ty {
        Type::Path(path) => path
            .path
            .segments
            .last()
            .map(|segment| segment.ident.to_string()),
        _ => None,
    }
}
