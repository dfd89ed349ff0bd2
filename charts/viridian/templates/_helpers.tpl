{{- define "viridian.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 45 | trimSuffix "-" -}}
{{- end -}}

{{/* At most 45 characters, so that every suffix of this chart stays below 63. */}}
{{- define "viridian.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 45 | trimSuffix "-" -}}
{{- else if contains (include "viridian.name" .) .Release.Name -}}
{{- .Release.Name | trunc 45 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "viridian.name" .) | trunc 45 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "viridian.namespace" -}}
{{- default .Release.Namespace .Values.namespaceOverride -}}
{{- end -}}

{{- define "viridian.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "viridian.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{/* Arguments: root, component. */}}
{{- define "viridian.selector" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: {{ include "viridian.name" $root }}
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end -}}

{{/* Arguments: root, component. */}}
{{- define "viridian.labels" -}}
{{- $root := index . 0 -}}
{{ include "viridian.selector" . }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/part-of: viridian
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name ($root.Chart.Version | replace "+" "_") }}
{{- with $root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Arguments: root, image values, default tag. */}}
{{- define "viridian.image" -}}
{{- $image := index . 1 -}}
{{- $repository := $image.repository -}}
{{- with (index . 0).Values.global.imageRegistry -}}
{{- /* The first part is a registry if it has a dot or a port, or is localhost. */}}
{{- $repository = printf "%s/%s" . (regexReplaceAll "^([^/]*[.:][^/]*|localhost)/" $repository "") -}}
{{- end -}}
{{- $repository -}}
{{- if $image.digest }}@{{ $image.digest }}{{ else }}:{{ default (index . 2) $image.tag }}{{ end -}}
{{- end -}}

{{/* Whether objects of the Prometheus operator are rendered. Arguments: root, values with enabled and renderMode. */}}
{{- define "viridian.prometheusOperator" -}}
{{- $values := index . 1 -}}
{{- $known := (index . 0).Capabilities.APIVersions.Has "monitoring.coreos.com/v1" -}}
{{- if $values.enabled -}}
{{- if and (not $known) (eq $values.renderMode "failIfMissing") -}}
{{- fail "the cluster has no monitoring.coreos.com/v1: install the Prometheus operator, or set renderMode to skipIfMissing" -}}
{{- end -}}
{{- if or $known (eq $values.renderMode "alwaysRender") }}true{{ end -}}
{{- end -}}
{{- end -}}

{{/* What the operator may do with objects of one namespace, or of all. Why: see the README. */}}
{{- define "viridian.rules" -}}
- apiGroups: [viridian.dev]
  resources: [modelupdates]
  verbs: [get, list, watch]
- apiGroups: [viridian.dev]
  resources: [modelupdates/status]
  verbs: [get, update]
- apiGroups: [viridian.dev]
  resources: [modelupdates/finalizers]
  verbs: [update]
- apiGroups: [batch]
  resources: [jobs]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [apps]
  resources: [deployments]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [services, configmaps]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [secrets]
  verbs: [get, create, patch]
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list, watch]
- apiGroups: [discovery.k8s.io]
  resources: [endpointslices]
  verbs: [get, list, watch]
- apiGroups: ["", events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- end -}}

{{/* Security of the pods of trial parts: nothing of it can be set, since their images are known. */}}
{{- define "viridian.restrictedPod" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "viridian.restrictedContainer" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{/* Volume "data" of a trial part. Arguments: root, its values, its name. */}}
{{- define "viridian.dataVolume" -}}
{{- $persistence := (index . 1).persistence -}}
- name: data
  {{- if or $persistence.enabled $persistence.existingClaim }}
  persistentVolumeClaim:
    claimName: {{ default (index . 2) $persistence.existingClaim }}
  {{- else }}
  emptyDir: {}
  {{- end }}
{{- end -}}

{{/* Claim of a trial part. Arguments: root, its values, its name, its component. */}}
{{- define "viridian.claim" -}}
{{- $root := index . 0 -}}
{{- $persistence := (index . 1).persistence -}}
{{- if and $persistence.enabled (not $persistence.existingClaim) }}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata:
  name: {{ index . 2 }}
  namespace: {{ include "viridian.namespace" $root }}
  labels:
    {{- include "viridian.labels" (list $root (index . 3)) | nindent 4 }}
spec:
  accessModes: [ReadWriteOnce]
  {{- with $persistence.storageClass }}
  storageClassName: {{ . }}
  {{- end }}
  resources:
    requests:
      storage: {{ $persistence.size }}
{{- end }}
{{- end -}}
