;; Declares a memory of four gigabytes.
(memory (export "memory") 65536)
