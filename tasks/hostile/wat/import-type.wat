;; Imports a function of an allowed interface under a type that it does not have.
(component
  $TYPES
  (import "celeriac:task/context@1.0.0" (instance $context
    (export "is-cancelled" (func (param "all" (list u64)) (result (list (list string)))))))
  (core module $m
    (memory (export "memory") 1)
    (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 4096))
    (func (export "describe") (result i32) (i32.const 16))
    (func (export "post-run") (param i32))
    (func (export "run") (param i32 i32 i32 i32 i32 i32 i32) (result i32) (i32.const 0)))
  (core instance $i (instantiate $m))
  $EXPORTS)
