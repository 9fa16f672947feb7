;; Throws exceptions, which hosts do not run.
(tag $t)
(func (export "throws") (throw $t))
