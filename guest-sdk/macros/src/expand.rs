//! The code that registers a task.

use proc_macro2::TokenStream;
use quote::{format_ident, quote, quote_spanned};
use syn::{
    Error, Expr, ExprLit, ItemFn, Lit, Meta, Result, ext::IdentExt as _, spanned::Spanned as _,
};

use crate::{
    options::{Options, check_name},
    signature::{Output, Signature},
};

/// The function as it stands and its registration. Where something is wrong the function remains,
/// so that the one message is not followed by others about a function that went missing.
pub(crate) fn expand(function: &ItemFn, options: Result<Options>) -> TokenStream {
    let registration = options
        .and_then(|options| register(function, &options))
        .unwrap_or_else(|error| error.to_compile_error());
    quote! {
        #[allow(clippy::needless_pass_by_value, reason = "a task owns its input")]
        #function
        #registration
    }
}

fn register(function: &ItemFn, options: &Options) -> Result<TokenStream> {
    let signature = Signature::read(function)?;
    let name = task_name(function, options)?;
    let doc = doc(function);
    let run = run(function, &signature);
    let input_schema = input_schema(&signature);
    let output_schema = output_schema(&signature);
    let defaults = defaults(options);
    let needs = options
        .needs
        .iter()
        .map(|(kind, name)| quote! { (#kind, #name) });
    Ok(quote! {
        const _: () = {
            #run
            ::celeriac_guest::__private::inventory::submit! {
                ::celeriac_guest::__private::TaskEntry {
                    name: #name,
                    doc: #doc,
                    run: __run,
                    input_schema: || #input_schema,
                    output_schema: || #output_schema,
                    options: #defaults,
                    needs: &[#(#needs),*],
                }
            }
        };
    })
}

fn task_name(function: &ItemFn, options: &Options) -> Result<String> {
    if let Some(name) = &options.name {
        return Ok(name.clone());
    }
    let name = function.sig.ident.unraw().to_string();
    match check_name(&name) {
        Ok(()) => Ok(name),
        Err(problem) => Err(Error::new(
            function.sig.ident.span(),
            format!("{problem}; or give one: #[task(name = \"…\")]"),
        )),
    }
}

/// The doc comment, without the one space that follows `///`.
fn doc(function: &ItemFn) -> String {
    let lines = function
        .attrs
        .iter()
        .filter_map(|attribute| match &attribute.meta {
            Meta::NameValue(pair) if pair.path.is_ident("doc") => match &pair.value {
                Expr::Lit(ExprLit {
                    lit: Lit::Str(text),
                    ..
                }) => Some(text.value()),
                _ => None,
            },
            _ => None,
        });
    let lines: Vec<_> = lines
        .map(|line| {
            line.strip_prefix(' ')
                .unwrap_or(&line)
                .trim_end()
                .to_owned()
        })
        .collect();
    lines.join("\n").trim().to_owned()
}

/// The function that the host's call ends in: reads the input, calls the task, writes the output.
fn run(function: &ItemFn, signature: &Signature) -> TokenStream {
    let task = &function.sig.ident;
    let ctx = format_ident!("__ctx");
    let context = signature.takes_context.then(|| quote! { #ctx, });
    let input = signature.input.as_ref().map(|ty| {
        quote_spanned! { ty.span() => ::celeriac_guest::__private::input::<#ty>(__input)? }
    });
    let output = match &signature.output {
        Output::Nothing => quote! {
            #task(#context #input);
            ::celeriac_guest::IntoPayload::into_payload(())
        },
        Output::Value(ty) => quote_spanned! { ty.span() =>
            let __output: #ty = #task(#context #input);
            ::celeriac_guest::IntoPayload::into_payload(__output)
        },
        Output::Result(ty) => quote_spanned! { ty.span() =>
            let __output: #ty = #task(#context #input);
            ::celeriac_guest::__private::settle(__output)
        },
    };
    quote! {
        #[allow(unused_variables)]
        fn __run(
            #ctx: &::celeriac_guest::Context,
            __input: ::celeriac_guest::Payload,
        ) -> ::core::result::Result<::celeriac_guest::Payload, ::celeriac_guest::Failure> {
            #output
        }
    }
}

/// A task without an input says so by the schema of null; it ignores whatever it is given.
fn input_schema(signature: &Signature) -> TokenStream {
    match &signature.input {
        Some(ty) => quote_spanned! { ty.span() =>
            <#ty as ::celeriac_guest::FromPayload>::input_schema()
        },
        None => quote! { <() as ::celeriac_guest::FromPayload>::input_schema() },
    }
}

fn output_schema(signature: &Signature) -> TokenStream {
    match &signature.output {
        Output::Nothing => quote! { <() as ::celeriac_guest::IntoPayload>::output_schema() },
        Output::Value(ty) => quote_spanned! { ty.span() =>
            <#ty as ::celeriac_guest::IntoPayload>::output_schema()
        },
        Output::Result(ty) => quote_spanned! { ty.span() =>
            ::celeriac_guest::__private::result_schema(::core::marker::PhantomData::<#ty>)
        },
    }
}

fn defaults(options: &Options) -> TokenStream {
    let queue = optional(options.queue.as_ref());
    let retries = optional(options.retries.as_ref());
    let backoff = optional(options.backoff.as_ref());
    let retry_on = &options.retry_on;
    let timeout = optional(options.timeout.as_ref());
    let fuel = optional(options.fuel.as_ref());
    let memory = optional(options.memory.as_ref());
    let limits = options
        .limits
        .iter()
        .map(|(name, value)| quote! { (#name, #value) });
    let priority = optional(options.priority.as_ref());
    let expires = optional(options.expires.as_ref());
    let deadline = optional(options.deadline.as_ref());
    let result_ttl = optional(options.result_ttl.as_ref());
    quote! {
        ::celeriac_guest::__private::TaskOptions {
            queue: #queue,
            retries: #retries,
            backoff: #backoff,
            retry_on: &[#(#retry_on),*],
            timeout_seconds: #timeout,
            fuel: #fuel,
            memory_bytes: #memory,
            limits: &[#(#limits),*],
            priority: #priority,
            expires_seconds: #expires,
            deadline_seconds: #deadline,
            result_ttl_seconds: #result_ttl,
        }
    }
}

fn optional(value: Option<&impl quote::ToTokens>) -> TokenStream {
    match value {
        Some(value) => quote! { ::core::option::Option::Some(#value) },
        None => quote! { ::core::option::Option::None },
    }
}
