//! Writes the type of an exported function out, so that it can be compared with the contract and shown.

use std::fmt::Write as _;

use wasmparser::component_types::{
    ComponentAnyTypeId, ComponentDefinedType, ComponentEntityType, ComponentFuncTypeId,
    ComponentValType,
};
use wasmparser::types::Types;

/// Types may nest wide: what is longer than this is no signature of ours.
const TEXT_BYTES: usize = 4 << 10;

/// A function's type, fully spelt out; `None` when the entity is not a function.
pub(crate) fn of_function(types: &Types, entity: &ComponentEntityType) -> Option<String> {
    let ComponentEntityType::Func(id) = entity else {
        return None;
    };
    let mut writer = Writer {
        types,
        text: String::new(),
    };
    writer.function(*id);
    Some(writer.text)
}

struct Writer<'a> {
    types: &'a Types,
    text: String,
}

impl Writer<'_> {
    fn function(&mut self, id: ComponentFuncTypeId) {
        let function = &self.types[id];
        self.text.push_str(if function.async_ {
            "async func("
        } else {
            "func("
        });
        for (index, (name, ty)) in function.params.iter().enumerate() {
            let gap = if index == 0 { "" } else { ", " };
            let _ = write!(self.text, "{gap}{name}: ");
            self.value(ty);
        }
        self.text.push(')');
        if let Some(result) = &function.result {
            self.text.push_str(" -> ");
            self.value(result);
        }
    }

    fn value(&mut self, ty: &ComponentValType) {
        if self.text.len() > TEXT_BYTES {
            return;
        }
        match ty {
            ComponentValType::Primitive(primitive) => {
                let _ = write!(self.text, "{primitive}");
            }
            ComponentValType::Type(id) => self.defined(&self.types[*id]),
        }
    }

    fn defined(&mut self, ty: &ComponentDefinedType) {
        match ty {
            ComponentDefinedType::Primitive(primitive) => {
                let _ = write!(self.text, "{primitive}");
            }
            ComponentDefinedType::Record(record) => {
                self.named(
                    "record",
                    record
                        .fields
                        .iter()
                        .map(|(name, ty)| (name.as_str(), Some(ty))),
                );
            }
            ComponentDefinedType::Variant(variant) => {
                self.named(
                    "variant",
                    variant
                        .cases
                        .iter()
                        .map(|(name, case)| (name.as_str(), case.ty.as_ref())),
                );
            }
            ComponentDefinedType::Enum(names) => {
                self.named("enum", names.iter().map(|name| (name.as_str(), None)))
            }
            ComponentDefinedType::Flags(names) => {
                self.named("flags", names.iter().map(|name| (name.as_str(), None)))
            }
            ComponentDefinedType::List { element, .. } => self.over("list", &[Some(element)]),
            ComponentDefinedType::Option { ty, .. } => self.over("option", &[Some(ty)]),
            ComponentDefinedType::Result { ok, err, .. } => {
                self.over("result", &[ok.as_ref(), err.as_ref()])
            }
            ComponentDefinedType::Tuple(tuple) => {
                let types: Vec<_> = tuple.types.iter().map(Some).collect();
                self.over("tuple", &types);
            }
            _ => self.text.push_str("a type that is not in the contract"),
        }
    }

    fn named<'t>(
        &mut self,
        kind: &str,
        parts: impl Iterator<Item = (&'t str, Option<&'t ComponentValType>)>,
    ) {
        let _ = write!(self.text, "{kind} {{");
        for (index, (name, ty)) in parts.enumerate() {
            if self.text.len() > TEXT_BYTES {
                return;
            }
            let gap = if index == 0 { " " } else { ", " };
            let _ = write!(self.text, "{gap}{name}");
            if let Some(ty) = ty {
                self.text.push_str(": ");
                self.value(ty);
            }
        }
        self.text.push_str(" }");
    }

    fn over(&mut self, kind: &str, types: &[Option<&ComponentValType>]) {
        let _ = write!(self.text, "{kind}<");
        for (index, ty) in types.iter().enumerate() {
            let gap = if index == 0 { "" } else { ", " };
            self.text.push_str(gap);
            match ty {
                Some(ty) => self.value(ty),
                None => self.text.push('_'),
            }
        }
        self.text.push('>');
    }
}

/// Whether an entity is the definition of a type, which exports may contain without being part of the world.
pub(crate) fn is_type(entity: &ComponentEntityType) -> bool {
    matches!(entity, ComponentEntityType::Type { referenced, .. } if !matches!(referenced, ComponentAnyTypeId::Component(_)))
}
