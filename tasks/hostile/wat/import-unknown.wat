;; Imports an interface that no host has.
(component
  (import "acme:shell/exec@1.0.0" (instance (export "exec" (func (param "command" string)))))
  $TYPES)
