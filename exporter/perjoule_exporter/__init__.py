"""The exporter: reads the joules of every GPU (and CPU) of a node and publishes them for Prometheus.

It knows energy, power and carbon factors. It knows nothing of models, requests or load: other programs do, and this
package never imports them.
"""
