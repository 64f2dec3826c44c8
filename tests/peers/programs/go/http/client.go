package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"os"
	"strings"
	"time"

	"peers/calls"
)

func client(options calls.Options) {
	planned := calls.Read(options.Plan)
	roots := x509.NewCertPool()
	certificate, err := os.ReadFile(options.Certificate)
	calls.Fail(err)
	roots.AppendCertsFromPEM(certificate)
	transport := &http.Transport{
		TLSClientConfig:       &tls.Config{RootCAs: roots},
		DisableCompression:    true,
		DisableKeepAlives:     !options.Keep,
		ForceAttemptHTTP2:     options.Protocol == "h2",
		MaxIdleConnsPerHost:   options.Concurrency,
		ExpectContinueTimeout: 20 * time.Second,
	}
	if options.Protocol != "h2" {
		transport.TLSNextProto = map[string]func(string, *tls.Conn) http.RoundTripper{}
	}
	log := calls.OpenLog(options.Log)
	one := func(planned calls.Request) { call(transport, log, options.Base, planned) }
	calls.Drive(planned[:options.Before], options.Concurrency, one)
	fmt.Println("ready")
	calls.Line()
	calls.Drive(planned[options.Before:], options.Concurrency, one)
	transport.CloseIdleConnections()
}

// onlyReader hides how long a content is, so that it is sent in chunks.
type onlyReader struct{ io.Reader }

func call(transport *http.Transport, log *calls.Log, base string, planned calls.Request) {
	var body io.Reader
	if planned.Size > 0 {
		content := bytes.Repeat([]byte(planned.Unit), planned.Size/len(planned.Unit)+1)[:planned.Size]
		body = bytes.NewReader(content)
		if planned.Chunked {
			body = onlyReader{body}
		}
	}
	var connection httptrace.GotConnInfo
	traced := httptrace.WithClientTrace(context.Background(), &httptrace.ClientTrace{
		GotConn: func(got httptrace.GotConnInfo) { connection = got },
	})
	request, err := http.NewRequestWithContext(traced, planned.Method, base+planned.Path, body)
	calls.Fail(err)
	for _, header := range planned.Headers {
		request.Header.Add(header[0], header[1])
	}
	if planned.Expect {
		request.Header.Set("Expect", "100-continue")
	}
	response, err := transport.RoundTrip(request)
	calls.Fail(err)
	local, remote := connection.Conn.LocalAddr(), connection.Conn.RemoteAddr()
	size, err := io.Copy(io.Discard, response.Body)
	calls.Fail(err)
	_ = response.Body.Close()
	log.Write(calls.Call{
		Role: "client", Method: planned.Method, Path: planned.Path, Status: response.StatusCode,
		RequestSize: int64(planned.Size), ResponseSize: size, Local: calls.EndOf(local), Remote: calls.EndOf(remote),
		Protocol: name(response.ProtoMajor), TLS: strings.HasPrefix(base, "https:"),
	})
}
