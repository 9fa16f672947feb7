;; The component around the core module of an attack. The suite puts the attack's fields in place of FIELDS, and beside them
;; whatever of memory, `realloc`, `describe`, `run` and `post-run` they do not export themselves. A file that has
;; with `(component` brings its own component, and has TYPES and EXPORTS put in.
(component
  $TYPES
  (import "celeriac:task/context@1.0.0" (instance $context
    (export "is-cancelled" (func (result bool)))))
  (core func $is-cancelled (canon lower (func $context "is-cancelled")))
  (core module $m
    (import "host" "is-cancelled" (func $is-cancelled (result i32)))
    $FIELDS)
  (core instance $i (instantiate $m
    (with "host" (instance (export "is-cancelled" (func $is-cancelled))))))
  $EXPORTS)
