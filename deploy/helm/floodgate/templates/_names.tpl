{{- define "floodgate.name" -}}
{{- if contains "floodgate" .Release.Name }}{{ .Release.Name | trunc 50 | trimSuffix "-" }}{{ else }}{{ printf "%s-floodgate" .Release.Name | trunc 50 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- define "floodgate.selector" -}}
app.kubernetes.io/name: floodgate
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "floodgate.labels" -}}
{{ include "floodgate.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "floodgate.image" -}}
{{- if .Values.image.digest }}{{ .Values.image.repository }}@{{ .Values.image.digest }}{{ else }}{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}{{ end }}
{{- end }}

{{/* Both halves of a pod run as one user: batch buffers are that user's alone. */}}
{{- define "floodgate.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "floodgate.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{/* A container that becomes tritonserver; dot is {root, loopback}. */}}
{{- define "floodgate.triton" -}}
name: triton
image: {{ include "floodgate.image" .root }}
imagePullPolicy: {{ .root.Values.image.pullPolicy }}
args:
  - triton
  - serve
  - --address={{ ternary "127.0.0.1" "0.0.0.0" .loopback }}:8001
  - --server=/opt/tritonserver/bin/tritonserver
  - --backends=/opt/tritonserver/backends
  {{- if .root.Values.triton.allowClientShm }}
  - --allow-client-shm
  {{- end }}
  - --config=/etc/floodgate/config.yaml
  {{- with .root.Values.triton.extraArguments }}
  - --
  {{- toYaml . | nindent 2 }}
  {{- end }}
ports:
  - {name: triton, containerPort: 8001}
{{- /* On loopback nobody but the pod can call it, the kubelet neither. */}}
{{- $ask := ternary "exec: {command: [floodgate, health, --target=127.0.0.1:8001, --service=]}" "grpc: {port: 8001}" .loopback }}
startupProbe:
  {{ $ask }}
  periodSeconds: 5
  timeoutSeconds: 6
  failureThreshold: 120
livenessProbe:
  {{ $ask }}
  periodSeconds: 30
  timeoutSeconds: 10
  failureThreshold: 4
resources: {{- toYaml .root.Values.triton.resources | nindent 2 }}
securityContext: {{- include "floodgate.containerSecurity" . | nindent 2 }}
volumeMounts:
  - {name: settings, mountPath: /etc/floodgate/config.yaml, subPath: config.yaml}
  - {name: triton-state, mountPath: /opt/floodgate/state/run}
  - {name: shared-memory, mountPath: /dev/shm}
  - {name: triton-scratch, mountPath: /tmp}
  {{- with include "floodgate.modelMount" .root }}
  {{- . | nindent 2 }}
  {{- end }}
{{- end }}

{{- define "floodgate.modelMount" -}}
{{- if .Values.modelRepository.volume }}
- {name: model-repository, mountPath: /opt/floodgate/model_repository, readOnly: true}
{{- end }}
{{- end }}

{{- define "floodgate.modelVolume" -}}
{{- with .Values.modelRepository.volume }}
- name: model-repository
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
