;; Imports threads.
(component
  (import "wasi:thread/spawn@0.2.0" (instance (export "spawn" (func (param "start" u32)))))
  $TYPES)
