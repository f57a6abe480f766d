package main

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"kvd/server/admin"
)

// serverInfo prints what a server tells of itself.
func (a *app) serverInfo(ctx context.Context, addr string) error {
	var info admin.Info
	if err := a.askAdmin(ctx, addr, http.MethodGet, "/api/v1/info", nil, &info); err != nil {
		return err
	}
	if a.json {
		return a.printJSON(&info)
	}
	fmt.Fprintf(a.out, "Information for the kvd server at %s\n", addr)
	a.printFields("Server", [][2]string{
		{"Version", info.Version},
		{"Go", info.Go + " " + info.Platform},
		{"Process", fmt.Sprint(info.PID)},
		{"Uptime", seconds(info.Uptime).Round(time.Second).String()},
		{"Listen", offText(info.Listen.Line)},
		{"NATS", offText(info.Listen.NATS)},
		{"Admin", offText(info.Listen.Admin)},
		{"Metrics", offText(info.Listen.Metrics)},
		{"Security", securityText(&info.Security)},
	})
	s := &info.Store
	a.printFields("Store", [][2]string{
		{"Directory", s.Directory},
		{"ID", s.ID},
		{"Recovery", s.Recovery},
		{"Buckets", bucketsText(s)},
		{"Keys", fmt.Sprint(s.Keys)},
		{"Records", bytesText(s.Bytes)},
		{"On Disk", bytesText(s.Disk)},
		{"Log", fmt.Sprintf("%s of %s", bytesText(uint64(s.Log)), bytesText(uint64(s.LogMax)))},
		{"Reserve", bytesText(uint64(s.Reserve))},
		{"Disk Free", diskFreeText(&info)},
		{"Open Files", fmt.Sprintf("%d of %d", s.FilesOpen, s.FilesMax)},
	})
	c := &info.Connections
	a.printFields("Clients", [][2]string{
		{"Connections", fmt.Sprintf("%d line, %d NATS", c.Line, c.NATS)},
		{"Since the Start", fmt.Sprintf("%d accepted, %d refused", c.Accepted, c.Refused)},
		{"Logins", fmt.Sprintf("%d accepted, %d failed, %d refused", c.LoginsAccepted, c.LoginsFailed, c.LoginsRefused)},
		{"Watches", fmt.Sprint(s.Watches)},
		{"Slow From", slowText(info.Slow)},
	})
	a.printFields("Memory", [][2]string{
		{"Heap", bytesText(info.Memory.Heap)},
		{"From System", bytesText(info.Memory.Total)},
		{"Goroutines", fmt.Sprint(info.Memory.Goroutines)},
	})
	a.printFields("Settings", changedSettings(info.Settings))
	return nil
}

// changedSettings returns the settings that are not the default, with their origin.
func changedSettings(all []admin.Setting) [][2]string {
	var fields [][2]string
	for _, s := range all {
		if s.Origin != originDefault {
			fields = append(fields, [2]string{s.Name, fmt.Sprintf("%s, from %s", s.Value, s.Origin)})
		}
	}
	return fields
}

// seconds returns a duration of that many seconds.
func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

// offText returns an address, or "off".
func offText(addr string) string {
	if addr == "" {
		return "off"
	}
	return addr
}

// slowText returns the threshold of the slow log, or "off".
func slowText(threshold string) string {
	if d, err := time.ParseDuration(threshold); err == nil && d == 0 {
		return "off"
	}
	return threshold
}

func securityText(s *admin.SecurityInfo) string {
	text := "no users, no TLS"
	switch {
	case s.Users && s.TLS:
		text = "users, TLS"
	case s.Users:
		text = "users, no TLS"
	case s.TLS:
		text = "no users, TLS"
	}
	if s.CertificateExpires != nil {
		text += ", certificate until " + s.CertificateExpires.Local().Format(timeLayout)
	}
	if s.Insecure {
		text += ", --insecure"
	}
	return text
}

func bucketsText(s *admin.StoreInfo) string {
	text := fmt.Sprint(s.Buckets)
	if s.ReadOnly > 0 {
		text += fmt.Sprintf(", %d read-only", s.ReadOnly)
	}
	if s.InDoubt > 0 {
		text += fmt.Sprintf(", %d in doubt after damage", s.InDoubt)
	}
	return text
}

func diskFreeText(info *admin.Info) string {
	text := fmt.Sprintf("%s of %s", bytesText(info.Disk.Free), bytesText(info.Disk.Total))
	if info.Store.Full {
		text += ", FULL: puts are refused"
	}
	return text
}
